// What is done to a drawing voxel by voxel. No viewer and no page here.
//
// A drawing exists in two orders. The file's: as the scan is stored, the first axis fastest. The
// viewer's: axes flipped and swapped to be closest to right, anterior, superior. `order` holds what
// leads from one to the other: {dims, start, step}, so that the viewer's voxel (x, y, z) is the
// file's voxel  start[0]+x*step[0] + start[1]+y*step[1] + start[2]+z*step[2].

function eachVoxel({ dims, start, step }, visit) {
  let view = 0;
  for (let z = 0; z < dims[2]; z++) {
    for (let y = 0; y < dims[1]; y++) {
      let file = start[0] + start[1] + start[2] + z * step[2] + y * step[1];
      for (let x = 0; x < dims[0]; x++, view++, file += step[0]) visit(view, file);
    }
  }
}

export function toViewer(inFile, order, made = new Uint8Array(inFile.length)) {
  eachVoxel(order, (view, file) => { made[view] = inFile[file]; });
  return made;
}

export function toFile(inView, order) {
  const made = new Uint8Array(inView.length);
  eachVoxel(order, (view, file) => { made[file] = inView[view]; });
  return made;
}

// Voxels connected to `seed` by faces that `belongs(index, x, y, z)` takes. Indices in the viewer's order.
export function connected([x0, y0, z0], dims, belongs) {
  const [nx, ny, nz] = dims;
  const seen = new Set();
  const found = [];
  const visit = (x, y, z) => {
    if (x < 0 || y < 0 || z < 0 || x >= nx || y >= ny || z >= nz) return;
    const index = x + nx * (y + ny * z);
    if (seen.has(index) || !belongs(index, x, y, z)) return;
    seen.add(index);
    found.push(index);
  };
  visit(x0, y0, z0);
  for (let next = 0; next < found.length; next++) {
    const x = found[next] % nx;
    const y = Math.floor(found[next] / nx) % ny;
    const z = Math.floor(found[next] / (nx * ny));
    visit(x - 1, y, z); visit(x + 1, y, z);
    visit(x, y - 1, z); visit(x, y + 1, z);
    visit(x, y, z - 1); visit(x, y, z + 1);
  }
  return found;
}

// Fill the empty slices between drawn ones of class `value`, across `axis`. Between two drawn slices
// the signed distance to the outline goes over linearly (Raya and Udupa, IEEE TMI 1990). Voxels of
// other classes stay. Returns how many voxels were changed.
export function interpolate(drawing, dims, axis, value) {
  const [u, v] = [0, 1, 2].filter((a) => a !== axis);
  const stride = [1, dims[0], dims[0] * dims[1]];
  const at = (s, i, j) => s * stride[axis] + i * stride[u] + j * stride[v];
  const drawn = [];
  for (let s = 0; s < dims[axis]; s++) {
    if (hasValue(drawing, (i, j) => at(s, i, j), dims[u], dims[v], value)) drawn.push(s);
  }
  let changed = 0;
  for (let n = 0; n + 1 < drawn.length; n++) {
    const [low, high] = [drawn[n], drawn[n + 1]];
    if (high - low < 2) continue;
    const [below, above] = [low, high].map((s) => signedDistance(drawing, (i, j) => at(s, i, j), dims[u], dims[v], value));
    for (let s = low + 1; s < high; s++) {
      const share = (s - low) / (high - low);
      for (let j = 0; j < dims[v]; j++) {
        for (let i = 0; i < dims[u]; i++) {
          const k = i + dims[u] * j;
          if ((1 - share) * below[k] + share * above[k] < 0 && drawing[at(s, i, j)] === 0) {
            drawing[at(s, i, j)] = value;
            changed++;
          }
        }
      }
    }
  }
  return changed;
}

function hasValue(drawing, at, nu, nv, value) {
  for (let j = 0; j < nv; j++) for (let i = 0; i < nu; i++) if (drawing[at(i, j)] === value) return true;
  return false;
}

// City-block distance in voxels to the outline, negative inside: two sweeps.
function signedDistance(drawing, at, nu, nv, value) {
  const inside = new Uint8Array(nu * nv);
  for (let j = 0; j < nv; j++) for (let i = 0; i < nu; i++) inside[i + nu * j] = drawing[at(i, j)] === value ? 1 : 0;
  const out = distanceTo(inside, 1, nu, nv);
  const into = distanceTo(inside, 0, nu, nv);
  return out.map((d, k) => (inside[k] ? 0.5 - into[k] : d - 0.5));
}

function distanceTo(inside, wanted, nu, nv) {
  const far = nu + nv;
  const d = new Float32Array(nu * nv).map((_, k) => (inside[k] === wanted ? 0 : far));
  const near = (k, i, j, step) => {
    if (i - step >= 0 && i - step < nu) d[k] = Math.min(d[k], d[k - step] + 1);
    if (j - step >= 0 && j - step < nv) d[k] = Math.min(d[k], d[k - step * nu] + 1);
  };
  for (let j = 0; j < nv; j++) for (let i = 0; i < nu; i++) near(i + nu * j, i, j, 1);
  for (let j = nv - 1; j >= 0; j--) for (let i = nu - 1; i >= 0; i--) near(i + nu * j, i, j, -1);
  return d;
}
