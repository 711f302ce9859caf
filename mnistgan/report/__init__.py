"""The files of the HTML report. `network.js` runs a trained generator in a browser."""
