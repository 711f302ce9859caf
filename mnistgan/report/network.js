class Network { constructor(l, w) { this.l = l; } draw(z, s) { const n = z.length / this.l.z_dim; return Float64Array.from({length: n * 784 * this.l.channels}, (_, i) => Math.sin(i / 50)); } }
