// The history of the training: a crosshair in the charts, the values at it, and the grids of samples.

function showTraining({ lines, names, grids }) {
  const readout = document.getElementById("readout");
  if (!readout) return;
  const charts = [...document.querySelectorAll("#training .chart")];
  const slider = document.getElementById("grid-slider");
  const last = lines.epoch.length - 1;
  let shown = last;

  // The index of the value in an ascending list that is nearest to `wanted`.
  function nearest(values, wanted) {
    let best = 0;
    values.forEach((value, i) => {
      if (Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = i;
    });
    return best;
  }

  function showGrid(index) {
    if (!slider) return;
    slider.value = index;
    document.getElementById("grid").src = grids[index].src;
    const text = `epoch ${grids[index].label}`;
    document.getElementById("grid-slider-value").textContent = text;
    slider.setAttribute("aria-valuetext", text);
  }

  function showLine(index) {
    shown = Math.min(last, Math.max(0, index));
    const epoch = lines.epoch[shown];
    for (const chart of charts) {
      const line = chart.querySelector(".crosshair"), x = 1000 * epoch / Number(chart.dataset.last);
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    }
    const values = Object.entries(names)
      .filter(([key]) => lines[key][shown] !== null)
      .map(([key, name]) => [name, String(Number(lines[key][shown].toPrecision(5)))]);
    readout.replaceChildren(...values.map(([name, value]) => {
      const part = document.createElement("span"), bold = document.createElement("b");
      bold.textContent = value;
      part.append(`${name} `, bold);
      return part;
    }));
    readout.setAttribute("aria-valuenow", shown);
    readout.setAttribute("aria-valuetext", values.map((pair) => pair.join(" ")).join(", "));
  }

  const epochs = grids.map((grid) => grid.epoch);
  function moveTo(index) {
    showLine(index);
    if (slider) showGrid(nearest(epochs, lines.epoch[shown]));
  }

  for (const chart of charts) {
    const plot = chart.querySelector(".plot");
    const follow = (event) => {
      const box = plot.getBoundingClientRect();
      const epoch = (event.clientX - box.left) / box.width * Number(chart.dataset.last);
      moveTo(nearest(lines.epoch, epoch));
    };
    plot.addEventListener("pointermove", follow);
    plot.addEventListener("pointerdown", follow);
  }
  readout.addEventListener("keydown", (event) => {
    const wanted = {
      ArrowLeft: shown - 1, ArrowRight: shown + 1, ArrowDown: shown - 1, ArrowUp: shown + 1,
      PageDown: shown - 20, PageUp: shown + 20, Home: 0, End: last,
    }[event.key];
    if (wanted === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    moveTo(wanted);
  });
  if (slider) {
    slider.addEventListener("input", () => {
      showGrid(Number(slider.value));
      showLine(nearest(lines.epoch, epochs[Number(slider.value)]));
    });
  }
  moveTo(last);
}
