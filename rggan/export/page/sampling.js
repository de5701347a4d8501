// The latents and classes of a seed, as rggan.generation.sampler draws them with PyTorch: the same seed is the same
// picture in Python and here, up to one grey level or so. Classic script: pages opened from a disk load no modules.
"use strict";

const Sampling = (() => {
  // Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), seeded as PyTorch's CPU generator is: by the low 32 bits.
  class Twister {
    constructor(seed) {
      this.state = new Uint32Array(624);
      this.state[0] = Number(BigInt(seed) & 0xffffffffn);
      for (let i = 1; i < 624; i++) {
        const last = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
        this.state[i] = Math.imul(1812433253, last) + i;
      }
      this.place = 624;
    }

    next32() {
      const s = this.state;
      if (this.place === 624) {
        for (let i = 0; i < 624; i++) {
          const y = (s[i] & 0x80000000) | (s[(i + 1) % 624] & 0x7fffffff);
          s[i] = s[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
        }
        this.place = 0;
      }
      let y = s[this.place++];
      y ^= y >>> 11;
      y ^= (y << 7) & 0x9d2c5680;
      y ^= (y << 15) & 0xefc60000;
      return (y ^ (y >>> 18)) >>> 0;
    }

    // 24 bits, as PyTorch makes a float32 in 0..1; 53 bits of two numbers, as it makes a float64.
    float() { return (this.next32() & 0xffffff) / 0x1000000; }
    double() {
      const high = this.next32() & 0x1fffff;
      return (high * 0x100000000 + this.next32()) / 0x20000000000000;
    }
  }

  // torch.randn(size): Box and Muller 1958, sixteen at a time; fewer than sixteen in double precision, in pairs.
  function normal(random, size) {
    const found = new Float32Array(size);
    if (size < 16) {
      let spare = null;
      for (let i = 0; i < size; i++) {
        if (spare !== null) { found[i] = spare; spare = null; continue; }
        const u1 = random.double(), u2 = random.double();
        const radius = Math.sqrt(-2 * Math.log1p(-u2)), angle = 2 * Math.PI * u1;
        found[i] = radius * Math.cos(angle);
        spare = radius * Math.sin(angle);
      }
      return found;
    }
    const sixteen = (start) => {
      for (let j = start; j < start + 8; j++) {
        const radius = Math.sqrt(-2 * Math.log(1 - found[j])), angle = 2 * Math.PI * found[j + 8];
        found[j] = radius * Math.cos(angle);
        found[j + 8] = radius * Math.sin(angle);
      }
    };
    for (let i = 0; i < size; i++) found[i] = random.float();
    for (let i = 0; i + 16 <= size; i += 16) sixteen(i);
    if (size % 16) {  // the last sixteen are drawn again
      for (let i = size - 16; i < size; i++) found[i] = random.float();
      sixteen(size - 16);
    }
    return found;
  }

  // The error function by its series, and by a continued fraction where that converges slowly.
  function erf(x) {
    const a = Math.abs(x);
    let found;
    if (a < 3) {
      let term = a, sum = a;
      for (let n = 1; Math.abs(term) > 1e-18 * sum; n++) {
        term *= -a * a / n;
        sum += term / (2 * n + 1);
      }
      found = 2 / Math.sqrt(Math.PI) * sum;
    } else {
      let fraction = 0;
      for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction);
      found = 1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction));
    }
    return x < 0 ? -found : found;
  }

  // Its inverse: Winitzki's approximation, then Newton's steps. Only for |y| < erf(1.5): truncation is at most 1.
  function erfinv(y) {
    const l = Math.log(1 - y * y), b = 2 / (Math.PI * 0.147) + l / 2;
    let x = Math.sign(y) * Math.sqrt(Math.sqrt(b * b - l / 0.147) - b);
    for (let i = 0; i < 4; i++) x -= (erf(x) - y) * Math.sqrt(Math.PI) / 2 * Math.exp(x * x);
    return x;
  }

  // Values beyond the limit drawn again from the truncated normal distribution, by its quantile function.
  function truncate(z, limit, random) {
    const inside = erf(limit / Math.SQRT2);
    return z.map((value) => {
      const share = 2 * random.double() - 1;
      if (Math.abs(value) <= limit) return value;
      const again = Math.fround(erfinv(share * inside) * Math.SQRT2);
      return Math.min(limit, Math.max(-limit, again));
    });
  }

  // {z: Float32Array, label: number or null} of a seed. counts: how often each class is drawn, or null without classes;
  // label: the class, or null for the seed's own; limit: of the latents, or null.
  function ofSeed(seed, size, counts, label, limit) {
    const random = new Twister(seed);
    let z = normal(random, size);
    const total = counts === null ? 1 : counts.reduce((sum, count) => sum + count, 0);
    const drawn = random.next32() % total;
    if (limit !== null) z = truncate(z, limit, random);
    if (counts === null) return {z, label: null};
    if (label !== null) return {z, label};
    let sum = 0, found = 0;
    while ((sum += counts[found]) <= drawn) found++;
    return {z, label: found};
  }

  // Between two vectors: along the arc, lengths evenly; along the line where there is no arc.
  function slerp(a, b, share) {
    let dot = 0, aa = 0, bb = 0;
    for (let i = 0; i < a.length; i++) { dot += a[i] * b[i]; aa += a[i] * a[i]; bb += b[i] * b[i]; }
    const lengthA = Math.sqrt(aa), lengthB = Math.sqrt(bb);
    const angle = Math.acos(Math.min(1, Math.max(-1, dot / (lengthA * lengthB))));
    if (!(Math.sin(angle) > 1e-6)) return lerp(a, b, share);
    const length = lengthA + (lengthB - lengthA) * share;
    const left = Math.sin((1 - share) * angle) / Math.sin(angle) / lengthA * length;
    const right = Math.sin(share * angle) / Math.sin(angle) / lengthB * length;
    return a.map((value, i) => left * value + right * b[i]);
  }

  function lerp(a, b, share) { return a.map((value, i) => value + (b[i] - value) * share); }

  return {Twister, normal, erf, erfinv, truncate, ofSeed, slerp, lerp};
})();
