/**
 * A generator that mnistgan/layers.py has converted to a list of operations.
 *
 * Activations have the layout (channel, row, column, image). With the image as the last axis, a
 * layer is one product of its weights and the activations, for one image as for many.
 */
class Network {
  /** Number of images that pass through the network together */
  static #BATCH = 16;

  #layers;
  #steps;
  #input = Network.#buffer();

  /**
   * @param {object} layers - The JSON of `Layers` without the weights.
   * @param {Uint8Array} weights - All tensors, float16, little endian.
   */
  constructor(layers, weights) {
    const values = Network.#decode(weights);
    const tensor = ({ offset, shape }) =>
      values.subarray(offset, offset + shape.reduce((product, size) => product * size, 1));
    this.#layers = layers;
    this.#steps = layers.operations.map((operation) =>
      Network.#KINDS[operation.kind](operation, tensor),
    );
  }

  /**
   * Draws n images.
   * @param {Float32Array|Float64Array} z - (n, zDim)
   * @param {?(Float32Array|Float64Array)} shares - Class weights (n, classes), which sum to 1 for
   *   each image; null for a network without classes.
   * @returns {Float32Array} (n, channels, 28, 28) in [-1, 1]
   */
  draw(z, shares) {
    const { z_dim: zDim, classes, channels } = this.#layers;
    const count = z.length / zDim;
    const size = channels * 28 * 28;
    const images = new Float32Array(count * size);
    for (let start = 0; start < count; start += Network.#BATCH) {
      const end = Math.min(start + Network.#BATCH, count);
      const batch = end - start;
      let x = this.#input((zDim + classes) * batch);
      Network.#transpose(z.subarray(start * zDim, end * zDim), x, batch, zDim);
      if (classes > 0) {
        const some = shares.subarray(start * classes, end * classes);
        Network.#transpose(some, x.subarray(zDim * batch), batch, classes);
      }
      for (const step of this.#steps) x = step(x, batch);
      Network.#transpose(x, images.subarray(start * size), size, batch);
    }
    return images;
  }

  /** For each kind of operation, a function that returns a step: (x, batch) => y. */
  static #KINDS = {
    // The direction of the last two components of z chooses a cluster of each class.
    clusters: ({ z, edges, embedding }, tensor) => {
      const [vectors, size] = [tensor(embedding), embedding.shape[1]];
      const [rest, clusters] = [z - 2, edges[0].length + 1];
      const result = Network.#buffer();
      return (x, batch) => {
        const isConditional = x.length > z * batch;
        const y = result((rest + size) * batch).fill(0);
        y.set(x.subarray(0, rest * batch));
        for (let i = 0; i < batch; i++) {
          const turn = Math.atan2(x[(rest + 1) * batch + i], x[rest * batch + i]) / (2 * Math.PI);
          edges.forEach((ends, label) => {
            const chosen = ends.filter((end) => end <= (turn + 1) % 1).length;
            const weight = isConditional ? x[(z + label) * batch + i] : 1;
            for (let k = 0; k < size; k++)
              y[(rest + k) * batch + i] += weight * vectors[(label * clusters + chosen) * size + k];
          });
        }
        return y;
      };
    },

    linear: (operation, tensor) => {
      const [weight, bias] = [tensor(operation.weight), tensor(operation.bias)];
      const result = Network.#buffer();
      return (x, batch) => {
        const y = result(bias.length * batch);
        Network.#multiply(weight, x, y, bias.length, batch);
        return Network.#add(y, bias);
      };
    },

    convolution: ({ input, output, ...operation }, tensor) => {
      const [weight, bias] = [tensor(operation.weight), tensor(operation.bias)];
      const map = Network.#taps(operation, operation.weight.shape.slice(2), output, input);
      const [patches, result] = [Network.#buffer(), Network.#buffer()];
      return (x, batch) => {
        const columns = patches(input[0] * map.length * batch);
        Network.#gather(x, map, input, batch, columns);
        const y = result(output[0] * output[1] * output[2] * batch);
        Network.#multiply(weight, columns, y, output[0], output[1] * output[2] * batch);
        return Network.#add(y, bias);
      };
    },

    transposed_convolution: ({ input, output, ...operation }, tensor) => {
      const [weight, bias] = [tensor(operation.weight), tensor(operation.bias)];
      const map = Network.#taps(operation, operation.weight.shape.slice(1, 3), input, output);
      const [patches, result] = [Network.#buffer(), Network.#buffer()];
      return (x, batch) => {
        const rows = weight.length / input[0];
        const columns = patches(output[0] * map.length * batch);
        Network.#multiply(weight, x, columns, rows, input[1] * input[2] * batch);
        const y = result(output[0] * output[1] * output[2] * batch).fill(0);
        return Network.#add(Network.#scatter(columns, map, output, batch, y), bias);
      };
    },

    upsample: ({ factor, input, output: [channels, height, width] }) => {
      const map = Int32Array.from({ length: height * width }, (_, i) => {
        const row = Math.floor(Math.floor(i / width) / factor[0]);
        return row * input[2] + Math.floor((i % width) / factor[1]);
      });
      const result = Network.#buffer();
      return (x, batch) =>
        Network.#gather(x, map, input, batch, result(channels * map.length * batch));
    },

    leaky_relu: ({ slope }) => (x) => {
      for (let i = 0; i < x.length; i++) if (x[i] < 0) x[i] *= slope;
      return x;
    },

    tanh: () => (x) => {
      for (let i = 0; i < x.length; i++) x[i] = Math.tanh(x[i]);
      return x;
    },
  };

  /** A function that returns an array of the given length, on the same memory at every call. */
  static #buffer() {
    let memory = new Float32Array(0);
    return (length) => {
      if (memory.length < length) memory = new Float32Array(length);
      return memory.subarray(0, length);
    };
  }

  /**
   * float16 to float32. With its bits moved to their places in a float32, a number is too small by
   * the difference of the exponent biases, 127 - 15. This also holds for subnormal numbers.
   */
  static #decode(weights) {
    const halves = new DataView(weights.buffer, weights.byteOffset, weights.byteLength);
    const bits = new Uint32Array(weights.byteLength / 2);
    for (let i = 0; i < bits.length; i++) {
      const half = halves.getUint16(2 * i, true);
      bits[i] = ((half & 0x8000) << 16) | ((half & 0x7fff) << 13);
    }
    return new Float32Array(bits.buffer).map((value) => value * 2 ** 112);
  }

  /**
   * The pixel of `image` under each tap of a kernel at each position of `grid`, or -1 outside. A
   * convolution reads these pixels, and a transposed convolution adds to them.
   * @returns {Int32Array} (kernel height, kernel width, grid height, grid width)
   */
  static #taps({ stride, padding }, [kernelHeight, kernelWidth], grid, [, height, width]) {
    const map = [];
    for (let v = 0; v < kernelHeight; v++)
      for (let u = 0; u < kernelWidth; u++)
        for (let i = 0; i < grid[1]; i++)
          for (let j = 0; j < grid[2]; j++) {
            const row = i * stride[0] - padding[0] + v;
            const column = j * stride[1] - padding[1] + u;
            const inside = row >= 0 && row < height && column >= 0 && column < width;
            map.push(inside ? row * width + column : -1);
          }
    return Int32Array.from(map);
  }

  /** y (channels, map, batch) = the pixels of x that `map` names, 0 outside. */
  static #gather(x, map, [channels, height, width], batch, y) {
    let to = 0;
    for (let channel = 0; channel < channels; channel++)
      for (const pixel of map) {
        const from = (channel * height * width + pixel) * batch;
        for (let i = 0; i < batch; i++) y[to++] = pixel < 0 ? 0 : x[from + i];
      }
    return y;
  }

  /** Adds x (channels, map, batch) to the pixels of y that `map` names. */
  static #scatter(x, map, [channels, height, width], batch, y) {
    let from = 0;
    for (let channel = 0; channel < channels; channel++)
      for (const pixel of map) {
        const to = (channel * height * width + pixel) * batch;
        if (pixel >= 0) for (let i = 0; i < batch; i++) y[to + i] += x[from + i];
        from += batch;
      }
    return y;
  }

  /** y (columns, rows) = the transpose of x (rows, columns) */
  static #transpose(x, y, rows, columns) {
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++)
        y[column * rows + row] = x[row * columns + column];
  }

  /** Adds bias[i] to every value of channel i. */
  static #add(y, bias) {
    const size = y.length / bias.length;
    for (let channel = 0; channel < bias.length; channel++)
      for (let i = channel * size; i < (channel + 1) * size; i++) y[i] += bias[channel];
    return y;
  }

  /**
   * y (rows, columns) = weight (rows, inner) x (inner, columns), in blocks of 2 rows and 4 columns,
   * whose sums stay in registers. After a ReLU most inputs are 0; those that are 0 in all columns
   * of a block are left out.
   */
  static #multiply(weight, x, y, rows, columns) {
    const inner = weight.length / rows;
    const used = new Int32Array(inner); // the inputs that are not 0 in all columns
    const block = new Float64Array(4 * inner); // their values in each column
    for (let column = 0; column < columns; column += 4) {
      const width = Math.min(4, columns - column);
      let count = 0;
      for (let k = 0; k < inner; k++) {
        let isUsed = false;
        for (let j = 0; j < width; j++) {
          const value = x[k * columns + column + j];
          block[4 * count + j] = value;
          isUsed ||= value !== 0;
        }
        if (isUsed) used[count++] = k;
      }
      for (let row = 0; row < rows; row += 2) {
        const next = Math.min(row + 1, rows - 1); // an odd last row is computed twice
        const a = row * inner, b = next * inner;
        let a0 = 0, a1 = 0, a2 = 0, a3 = 0;
        let b0 = 0, b1 = 0, b2 = 0, b3 = 0;
        if (width === 1) {
          for (let i = 0; i < count; i++) {
            a0 += weight[a + used[i]] * block[4 * i];
            b0 += weight[b + used[i]] * block[4 * i];
          }
        } else {
          for (let i = 0; i < count; i++) {
            const wa = weight[a + used[i]], wb = weight[b + used[i]];
            const x0 = block[4 * i], x1 = block[4 * i + 1];
            const x2 = block[4 * i + 2], x3 = block[4 * i + 3];
            a0 += wa * x0; a1 += wa * x1; a2 += wa * x2; a3 += wa * x3;
            b0 += wb * x0; b1 += wb * x1; b2 += wb * x2; b3 += wb * x3;
          }
        }
        const to = row * columns + column, below = next * columns + column;
        y[to] = a0;
        y[below] = b0;
        if (width > 1) { y[to + 1] = a1; y[below + 1] = b1; }
        if (width > 2) { y[to + 2] = a2; y[below + 2] = b2; }
        if (width > 3) { y[to + 3] = a3; y[below + 3] = b3; }
      }
    }
  }
}
