// The start of the page of one run.

const data = JSON.parse(document.getElementById("data").textContent);
if (data.model) {
  const encoded = document.getElementById("weights").textContent;
  const weights = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  showGenerator(data.model, new Network(data.model.layers, weights));
}
showTraining(data);
document.documentElement.dataset.ready = "";
