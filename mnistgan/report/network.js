"use strict";

/**
 * A generator that mnistgan/layers.py has converted to a list of operations.
 *
 * Activations have the layout (channel, row, column, image). With the image as the last axis, a
 * layer is one product of its weights and the activations, for one image as for many.
 */
class Network {
  /** Number of images that pass through the network together */
  static #BATCH = 8;

  #layers;
  #operations;
  #buffers = new Map();

  /**
   * @param {object} layers - The JSON of `Layers` without the weights.
   * @param {Uint8Array} weights - All tensors, float16, little endian.
   */
  constructor(layers, weights) {
    const values = Network.#decode(weights);
    this.#layers = layers;
    this.#operations = layers.operations.map((operation) => Network.#prepare(operation, values));
  }

  /**
   * Draws n images.
   * @param {Float32Array|Float64Array} z - (n, zDim)
   * @param {?(Float32Array|Float64Array)} shares - Class weights (n, classes) that sum to 1 for each
   *   image; null for a network without classes.
   * @returns {Float32Array} (n, channels, 28, 28) in [-1, 1]
   */
  draw(z, shares) {
    const { z_dim: zDim, classes, channels } = this.#layers;
    const count = z.length / zDim;
    const size = channels * 28 * 28;
    const images = new Float32Array(count * size);
    for (let start = 0; start < count; start += Network.#BATCH) {
      const batch = Math.min(Network.#BATCH, count - start);
      let x = this.#buffer("input", (zDim + classes) * batch);
      Network.#transpose(z.subarray(start * zDim, (start + batch) * zDim), x, batch, zDim);
      if (classes > 0) {
        const some = shares.subarray(start * classes, (start + batch) * classes);
        Network.#transpose(some, x.subarray(zDim * batch), batch, classes);
      }
      for (const operation of this.#operations) {
        x = this.#kinds[operation.kind](x, operation, batch);
      }
      Network.#transpose(x, images.subarray(start * size), size, batch);
    }
    return images;
  }

  /** What each kind of operation makes of x. Buffers belong to an operation and are used again. */
  #kinds = {
    linear: (x, operation, batch) => {
      const { weight, bias } = operation;
      const y = this.#buffer(operation, bias.length * batch);
      Network.#multiply(weight, x, y, bias.length, batch);
      return Network.#add(y, bias);
    },

    convolution: (x, operation, batch) => {
      const { weight, bias, map, input, output } = operation;
      const patches = this.#buffer(map, input[0] * map.length * batch);
      Network.#gather(x, map, input, batch, patches);
      const columns = output[1] * output[2] * batch;
      const y = this.#buffer(operation, bias.length * columns);
      Network.#multiply(weight, patches, y, bias.length, columns);
      return Network.#add(y, bias);
    },

    transposed_convolution: (x, operation, batch) => {
      const { weight, bias, map, input, output } = operation;
      const patches = this.#buffer(map, output[0] * map.length * batch);
      Network.#multiply(weight, x, patches, weight.length / input[0], input[1] * input[2] * batch);
      const y = this.#buffer(operation, output[0] * output[1] * output[2] * batch).fill(0);
      Network.#scatter(patches, map, output, batch, y);
      return Network.#add(y, bias);
    },

    upsample: (x, operation, batch) => {
      const { map, input } = operation;
      const y = this.#buffer(operation, input[0] * map.length * batch);
      Network.#gather(x, map, input, batch, y);
      return y;
    },

    leaky_relu: (x, { slope }) => {
      for (let i = 0; i < x.length; i++) if (x[i] < 0) x[i] *= slope;
      return x;
    },

    tanh: (x) => {
      for (let i = 0; i < x.length; i++) x[i] = Math.tanh(x[i]);
      return x;
    },
  };

  #buffer(owner, length) {
    let buffer = this.#buffers.get(owner);
    if (buffer === undefined || buffer.length < length) {
      buffer = new Float32Array(length);
      this.#buffers.set(owner, buffer);
    }
    return buffer.subarray(0, length);
  }

  /**
   * float16 to float32. With its bits moved to their places in a float32, a number is too small by
   * the difference of the exponent biases, 127 - 15. This also holds for subnormal numbers.
   */
  static #decode(weights) {
    const halves = new DataView(weights.buffer, weights.byteOffset, weights.byteLength);
    const values = new Float32Array(weights.byteLength / 2);
    const bits = new Uint32Array(values.buffer);
    for (let i = 0; i < values.length; i++) {
      const half = halves.getUint16(2 * i, true);
      bits[i] = ((half & 0x8000) << 16) | ((half & 0x7fff) << 13);
      values[i] *= 2 ** 112;
    }
    return values;
  }

  /** Replaces the places of tensors by their values, and adds the map of an operation on pixels. */
  static #prepare(operation, values) {
    const { kind, weight, bias, stride, padding, factor, input, output } = operation;
    const tensor = ({ offset, shape }) =>
      values.subarray(offset, offset + shape.reduce((product, size) => product * size, 1));
    const maps = {
      convolution: () => Network.#taps(weight?.shape.slice(2), stride, padding, output, input),
      transposed_convolution: () =>
        Network.#taps(weight?.shape.slice(1, 3), stride, padding, input, output),
      upsample: () => Network.#nearest(factor, input, output),
    };
    return {
      ...operation,
      ...(weight && { weight: tensor(weight), bias: tensor(bias) }),
      ...(maps[kind] && { map: maps[kind]() }),
    };
  }

  /**
   * The pixel of `image` under each tap of a kernel at each position of `grid`; -1 outside the image.
   * A convolution reads these pixels, and a transposed convolution adds to them.
   * @returns {Int32Array} (kernel height, kernel width, grid height, grid width)
   */
  static #taps([kernelHeight, kernelWidth], stride, padding, grid, image) {
    const [, height, width] = image;
    const map = new Int32Array(kernelHeight * kernelWidth * grid[1] * grid[2]);
    let next = 0;
    for (let v = 0; v < kernelHeight; v++)
      for (let u = 0; u < kernelWidth; u++)
        for (let i = 0; i < grid[1]; i++)
          for (let j = 0; j < grid[2]; j++) {
            const row = i * stride[0] - padding[0] + v;
            const column = j * stride[1] - padding[1] + u;
            const inside = row >= 0 && row < height && column >= 0 && column < width;
            map[next++] = inside ? row * width + column : -1;
          }
    return map;
  }

  /** The pixel of the input that each pixel of an upsampled image repeats. */
  static #nearest(factor, input, output) {
    const [, height, width] = output;
    const source = (_, pixel) =>
      Math.floor(Math.floor(pixel / width) / factor[0]) * input[2] +
      Math.floor((pixel % width) / factor[1]);
    return Int32Array.from({ length: height * width }, source);
  }

  /** y (channels, map, batch) = the pixels of x that `map` names, 0 outside the image. */
  static #gather(x, map, [channels, height, width], batch, y) {
    let to = 0;
    for (let channel = 0; channel < channels; channel++)
      for (const pixel of map) {
        const from = (channel * height * width + pixel) * batch;
        for (let image = 0; image < batch; image++) y[to++] = pixel < 0 ? 0 : x[from + image];
      }
  }

  /** Adds x (channels, map, batch) to the pixels of y that `map` names. */
  static #scatter(x, map, [channels, height, width], batch, y) {
    let from = 0;
    for (let channel = 0; channel < channels; channel++)
      for (const pixel of map) {
        const to = (channel * height * width + pixel) * batch;
        if (pixel >= 0) for (let image = 0; image < batch; image++) y[to + image] += x[from + image];
        from += batch;
      }
  }

  /** y (columns, rows) = x (rows, columns) transposed */
  static #transpose(x, y, rows, columns) {
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++)
        y[column * rows + row] = x[row * columns + column];
  }

  /** Adds bias[i] to all values of channel i. */
  static #add(y, bias) {
    const size = y.length / bias.length;
    for (let channel = 0; channel < bias.length; channel++)
      for (let i = channel * size; i < (channel + 1) * size; i++) y[i] += bias[channel];
    return y;
  }

  /**
   * y (rows, columns) = weight (rows, inner) x (inner, columns), in blocks of 2 rows and 4 columns
   * whose sums stay in registers. After a ReLU most of x is 0, so inputs that are 0 in all four
   * columns are left out.
   */
  static #multiply(weight, x, y, rows, columns) {
    const inner = weight.length / rows;
    const used = new Int32Array(inner); // the inputs that are not 0 in all four columns
    const panel = new Float64Array(4 * inner); // their values
    for (let column = 0; column < columns; column += 4) {
      const width = Math.min(4, columns - column);
      let count = 0;
      for (let k = 0; k < inner; k++) {
        const from = k * columns + column;
        const x0 = x[from];
        const x1 = width > 1 ? x[from + 1] : 0;
        const x2 = width > 2 ? x[from + 2] : 0;
        const x3 = width > 3 ? x[from + 3] : 0;
        if (x0 !== 0 || x1 !== 0 || x2 !== 0 || x3 !== 0) {
          used[count] = k;
          panel[4 * count] = x0;
          panel[4 * count + 1] = x1;
          panel[4 * count + 2] = x2;
          panel[4 * count + 3] = x3;
          count++;
        }
      }
      for (let row = 0; row < rows; row += 2) {
        const next = Math.min(row + 1, rows - 1); // an odd last row is computed twice
        const a = row * inner;
        const b = next * inner;
        let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0; // prettier-ignore
        for (let i = 0, p = 0; i < count; i++, p += 4) {
          const wa = weight[a + used[i]];
          const wb = weight[b + used[i]];
          const x0 = panel[p], x1 = panel[p + 1], x2 = panel[p + 2], x3 = panel[p + 3]; // prettier-ignore
          a0 += wa * x0; a1 += wa * x1; a2 += wa * x2; a3 += wa * x3; // prettier-ignore
          b0 += wb * x0; b1 += wb * x1; b2 += wb * x2; b3 += wb * x3; // prettier-ignore
        }
        const to = row * columns + column;
        const below = next * columns + column;
        y[to] = a0;
        y[below] = b0;
        if (width > 1) { y[to + 1] = a1; y[below + 1] = b1; } // prettier-ignore
        if (width > 2) { y[to + 2] = a2; y[below + 2] = b2; } // prettier-ignore
        if (width > 3) { y[to + 3] = a3; y[below + 3] = b3; } // prettier-ignore
      }
    }
  }
}
