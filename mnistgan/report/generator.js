// The controls of the generator: they choose z and the weights of the classes, and draw images.

const SIDE = 28;
const REACH = 1;            // the edge of the map: a vector as long as z added to z, so 45 degrees away
const SLOW_MILLISECONDS = 1000; // a map that takes longer shows fewer images
const PAUSE_MILLISECONDS = 120; // after the last change, before the map is drawn again

// A small generator of random numbers with a seed (mulberry32), with the range [0, 1).
function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

// A number with a standard normal distribution (Box and Muller 1958).
function normal(random) {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

function norm(vector) {
  return Math.hypot(...vector);
}

function product(a, b) {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}

// A random vector of length 1 that is orthogonal to the others, which are orthogonal to each other
// (Gram and Schmidt). Zeros if there is no such vector, as z has too few dimensions.
function orthogonal(others, size, random) {
  if (others.length >= size) return new Float64Array(size);
  const drawn = Float64Array.from({ length: size }, () => normal(random));
  const rest = others.reduce((vector, other) => {
    const share = product(vector, other) / product(other, other);
    return vector.map((value, i) => value - share * other[i]);
  }, drawn);
  const total = norm(rest);
  return rest.map((value) => value / total);
}

// The latent vectors that a page can reach: a plane (and a third direction) through one noise vector.
class Latent {
  constructor(size, directions) {
    this.size = size;
    this.directions = directions;
  }

  // noise: standard normal values, or null to draw them with the seed
  renew(seed, noise = null) {
    const random = randomNumbers(seed);
    this.seed = seed;
    this.noise = noise ?? Float64Array.from({ length: this.size }, () => normal(random));
    this.axes = [];
    for (let i = 0; i < 3; i++) this.axes.push(orthogonal([this.noise, ...this.axes], this.size, random));
  }

  // z at the position (x, y) of the map. Moving keeps the length of the noise, because G has been
  // trained on vectors of about this length.
  at(x, y, { third, temperature, truncation, shifts }) {
    const redraw = randomNumbers(this.seed ^ 0x5bd1e995);
    const start = this.noise.map((value) => {
      while (truncation !== null && Math.abs(temperature * value) > truncation) value = normal(redraw);
      return value;
    });
    const reach = REACH * norm(start), steps = [x, y, third];
    const moved = start.map((value, i) =>
      steps.reduce((sum, step, axis) => sum + step * reach * this.axes[axis][i], value));
    const scale = temperature * (steps.some(Boolean) ? norm(start) / norm(moved) : 1);
    return moved.map((value, i) =>
      shifts.reduce((sum, shift, k) => sum + shift * this.directions[k][i], value * scale));
  }
}

// Draw one image (channels * 28 * 28 values in [-1, 1]) on a canvas with its upper left corner at (x, y).
function paint(context, values, channels, x, y) {
  const picture = context.createImageData(SIDE, SIDE), area = SIDE * SIDE;
  for (let pixel = 0; pixel < area; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      const value = values[Math.min(channel, channels - 1) * area + pixel];
      picture.data[4 * pixel + channel] = Math.round((value + 1) * 127.5);
    }
    picture.data[4 * pixel + 3] = 255;
  }
  context.putImageData(picture, x, y);
}

function showGenerator(model, network) {
  const element = (id) => document.getElementById(id);
  const number = (id) => Number(element(id).value);
  const latent = new Latent(model.layers.z_dim, model.directions);
  const point = { x: 0, y: 0 };
  const area = model.layers.channels * SIDE * SIDE;
  let mapSide = 8, walkedSince = null, mapTimer = null, textTimer = null;

  const settings = () => ({
    third: number("third"),
    temperature: number("temperature"),
    truncation: element("truncation").value === element("truncation").max ? null : number("truncation"),
    shifts: model.directions.map((_, k) => number(`direction-${k}`)),
  });

  const chosenClass = () =>
    Number((element("class") ?? document.querySelector("input[name=class]:checked")).value);

  // The weights of the classes that the controls choose, or null for an unconditional generator.
  function shares() {
    if (!model.layers.classes) return null;
    const weights = new Float64Array(model.layers.classes), mix = number("mix");
    weights[chosenClass()] += 1 - mix;
    weights[Number(element("other").value)] += mix;
    return weights;
  }

  // Images for several vectors z; weights: one vector of class weights for all, or one for each.
  function draw(zs, weights) {
    const z = new Float64Array(zs.length * model.layers.z_dim);
    zs.forEach((values, i) => z.set(values, i * model.layers.z_dim));
    if (weights === null) return network.draw(z, null);
    const each = new Float64Array(zs.length * model.layers.classes);
    zs.forEach((_, i) => each.set(Array.isArray(weights) ? weights[i] : weights, i * model.layers.classes));
    return network.draw(z, each);
  }

  function drawImage() {
    const values = draw([latent.at(point.x, point.y, settings())], shares());
    paint(element("image").getContext("2d"), values, model.layers.channels, 0, 0);
    element("point").style.left = `${50 + 50 * point.x}%`;
    element("point").style.top = `${50 + 50 * point.y}%`;
    element("position").textContent =
      `Noise ${latent.seed}, position ${point.x.toFixed(2)}, ${point.y.toFixed(2)}`;
    return values;
  }

  // Draws the map from this row on, one row at a time, so that the page reacts in between.
  function drawMap(row = 0) {
    const map = element("map"), context = map.getContext("2d"), chosen = settings();
    const centers = Array.from({ length: mapSide }, (_, i) => (2 * i + 1) / mapSide - 1);
    if (map.width !== mapSide * SIDE) map.width = map.height = mapSide * SIDE;
    const values = draw(centers.map((x) => latent.at(x, centers[row], chosen)), shares());
    centers.forEach((_, i) =>
      paint(context, values.subarray(i * area, (i + 1) * area), model.layers.channels, i * SIDE, row * SIDE));
    if (row + 1 < mapSide) mapTimer = setTimeout(drawMap, 0, row + 1);
  }

  function drawText() {
    if (!element("text")) return;
    const marks = [...element("text").value];
    const unknown = marks.find((mark) => !(mark in model.writes) && !model.gaps.includes(mark));
    element("text-problem").textContent =
      unknown === undefined ? "" : `The generator has no class ${unknown}.`;
    const line = element("line"), drawn = marks.filter((mark) => mark in model.writes);
    line.width = Math.max(1, marks.length) * SIDE;
    line.style.width = `min(100%, ${5 * Math.max(1, marks.length)}rem)`;
    if (!drawn.length) return;
    const z = latent.at(point.x, point.y, settings());
    const values = draw(drawn.map(() => z), drawn.map((mark) => {
      const weights = new Float64Array(model.layers.classes);
      weights[model.writes[mark]] = 1;
      return weights;
    }));
    let next = 0;
    marks.forEach((mark, i) => {
      if (!(mark in model.writes)) return;
      paint(line.getContext("2d"), values.subarray(next * area, ++next * area), model.layers.channels, i * SIDE, 0);
    });
  }

  function drawTextSoon() {
    clearTimeout(textTimer);
    textTimer = setTimeout(drawText, PAUSE_MILLISECONDS);
  }

  function drawRest() {
    clearTimeout(mapTimer);
    mapTimer = setTimeout(drawMap, PAUSE_MILLISECONDS);
    drawTextSoon();
  }

  function moveTo(x, y) {
    const within = (value) => Math.min(1, Math.max(-1, value));
    [point.x, point.y] = [within(x), within(y)];
    drawImage();
    drawTextSoon();
  }

  function showValues() {
    for (const input of document.querySelectorAll("#generator input[type=range]")) {
      const isOff = input.id === "truncation" && input.value === input.max;
      const text = isOff ? "off" : Number(input.value).toFixed(2);
      element(`${input.id}-value`).textContent = text;
      input.setAttribute("aria-valuetext", text);
    }
  }

  // The walk: a Lissajous curve through the map.
  function step(now) {
    if (walkedSince === null) return;
    const seconds = (now - walkedSince) / 1000;
    moveTo(0.9 * Math.sin(0.7 * seconds), 0.9 * Math.sin(1.1 * seconds));
    requestAnimationFrame(step);
  }

  function toggleWalk(walking) {
    walkedSince = walking ? performance.now() : null;
    element("walk").setAttribute("aria-pressed", String(walking));
    element("position").setAttribute("aria-live", walking ? "off" : "polite");
    if (walking) requestAnimationFrame(step);
  }

  function save() {
    const large = document.createElement("canvas"), scale = 10;
    large.width = large.height = SIDE * scale;
    const context = large.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(element("image"), 0, 0, SIDE * scale, SIDE * scale);
    const link = document.createElement("a");
    link.download = `${model.name}-noise${latent.seed}.png`;
    link.href = large.toDataURL("image/png");
    link.click();
  }

  const pad = element("pad");
  const follow = (event) => {
    const box = pad.getBoundingClientRect();
    moveTo(2 * (event.clientX - box.left) / box.width - 1, 2 * (event.clientY - box.top) / box.height - 1);
  };
  pad.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button !== 0) return; // a second finger zooms
    toggleWalk(false);
    pad.setPointerCapture(event.pointerId);
    follow(event);
  });
  pad.addEventListener("pointermove", (event) => {
    if (pad.hasPointerCapture(event.pointerId)) follow(event);
  });
  pad.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!move || event.altKey || event.ctrlKey || event.metaKey) return; // those are the browser's
    event.preventDefault();
    toggleWalk(false);
    const stride = event.shiftKey ? 0.25 : 0.05;
    moveTo(point.x + stride * move[0], point.y + stride * move[1]);
  });
  element("new").addEventListener("click", () => {
    latent.renew(1 + Math.floor(Math.random() * 999999));
    drawImage();
    drawRest();
  });
  element("walk").addEventListener("click", () => toggleWalk(walkedSince === null));
  element("save").addEventListener("click", save);
  element("reset").addEventListener("click", () => {
    toggleWalk(false);
    for (const input of document.querySelectorAll("#generator input[type=range]")) input.value = input.defaultValue;
    showValues();
    moveTo(0, 0);
    drawRest();
  });
  element("generator").addEventListener("input", (event) => {
    showValues();
    if (event.target.id !== "text") drawImage();
    drawRest();
  });

  latent.renew(0, Float64Array.from(model.noise));
  showValues();
  drawImage(); // the first calls are slower, because the browser compiles the script
  drawImage();
  const start = performance.now();
  drawImage();
  if ((performance.now() - start) * mapSide ** 2 > SLOW_MILLISECONDS) mapSide = 4;
  drawMap();
  drawText();
}
