// The page of the viewer: a list of cases, and the layers of one of them. Text from files is set as text, never as HTML.
'use strict';

const OPACITY = {image: 1, label: 0.5, map: 0.6};
const KEYS = {r: 'reference', p: 'prediction', u: ''};  // '' is the first map
const state = {run: null, chosen: -1, layers: [], shown: [], opacity: [], nv: null, turn: 0};
const $ = id => document.getElementById(id);

function element(name, text, parent) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

async function read(url) {
  const answer = await fetch(url);
  if (!answer.ok) {
    const found = await answer.json().catch(() => ({}));
    throw new Error(found.error || `${url}: status ${answer.status}`);
  }
  return answer;
}

function number(text) {
  const value = Number(text);
  return text !== '' && text !== null && Number.isFinite(value) && !Number.isInteger(value) ? value.toFixed(3) : text;
}

function colour(value) {
  const found = state.run.classes.find(of => of.value === value);
  const palette = ['#e69f00', '#56b4e9', '#009e73', '#f0e442', '#0072b2', '#d55e00', '#cc79a7', '#999999'];
  return found ? found.colour : value === 255 ? '#666666' : palette[(value - 1) % palette.length];
}

function rgb(value) {
  const text = colour(value);
  return [1, 3, 5].map(at => parseInt(text.slice(at, at + 2), 16));
}

function className(value) {
  const found = state.run.classes.find(of => of.value === value);
  return found ? found.name : value === 255 ? 'ignored' : String(value);
}

// The number of voxels of each value above 0 of a label, as it was loaded.
function count(values) {
  const counts = {};
  for (const value of values) if (value > 0) counts[value] = (counts[value] || 0) + 1;
  return counts;
}

function showCounts(labels) {
  const head = $('counts').tHead, body = $('counts').tBodies[0];
  head.replaceChildren();
  body.replaceChildren();
  if (!labels.length) return;
  const first = element('tr', undefined, head);
  for (const text of ['Voxels', ...labels.map(of => of.name)]) element('th', text, first);
  const values = [...new Set(labels.flatMap(of => Object.keys(of.counts).map(Number)))].sort((a, b) => a - b);
  for (const value of values) {
    const row = element('tr', undefined, body), name = element('td', undefined, row);
    element('span', '', name).className = 'colour';
    name.firstChild.style.background = colour(value);
    name.append(className(value));
    for (const of of labels) {
      const voxels = of.counts[value] || 0;
      const cell = element('td', of.voxel_ml ? `${voxels} (${(voxels * of.voxel_ml).toFixed(2)} ml)` : voxels, row);
      cell.dataset.layer = of.name;
      cell.dataset.value = value;
      cell.dataset.voxels = voxels;
    }
  }
}

function showControls() {
  $('controls').replaceChildren();
  state.layers.forEach((layer, at) => {
    const label = element('label', undefined, $('controls'));
    const box = element('input', undefined, label), range = element('input', undefined, label);
    box.type = 'checkbox';
    box.checked = state.shown[at];
    box.onchange = () => { state.shown[at] = box.checked; apply(); };
    box.after(` ${layer.name} `);
    Object.assign(range, {type: 'range', min: 0, max: 1, step: 0.05, value: state.opacity[at]});
    range.oninput = () => { state.opacity[at] = Number(range.value); apply(); };
  });
}

// Applies which layers are shown, and how opaque they are.
function apply() {
  state.layers.forEach((layer, at) => {
    const opacity = state.shown[at] ? state.opacity[at] : 0;
    if (layer.volume) state.nv.setOpacity(at, opacity);
    else if (layer.canvas) layer.canvas.style.opacity = opacity;
  });
  for (const box of document.querySelectorAll('#controls input[type=checkbox]'))
    box.checked = state.shown[[...$('controls').children].indexOf(box.parentElement)];
}

function labelMap(values) {
  const known = [...new Set([0, ...values.map(Number)])].sort((a, b) => a - b), map = {R: [], G: [], B: [], A: [], I: [], labels: []};
  for (const value of known) {
    const [r, g, b] = value ? rgb(value) : [0, 0, 0];
    map.R.push(r); map.G.push(g); map.B.push(b); map.A.push(value ? 255 : 0); map.I.push(value);
    map.labels.push(value ? className(value) : '');
  }
  return map;
}

async function viewer() {
  if (!state.nv) {
    state.nv = new niivue.Niivue({backColor: [0, 0, 0, 1], show3Dcrosshair: true, isColorbar: false, dragAndDropEnabled: false,
      isRadiologicalConvention: true});
    await state.nv.attachToCanvas($('volume'));
    state.nv.opts.multiplanarShowRender = niivue.SHOW_RENDER.ALWAYS;
  }
  return state.nv;
}

async function drawVolumes(layers) {
  $('picture').hidden = true;
  $('volume').hidden = false;
  const nv = await viewer();
  await nv.loadVolumes(layers.map(layer => ({
    url: layer.url, name: layer.file || layer.url.split('/').pop(), opacity: OPACITY[layer.kind],
    colormap: {image: 'gray', label: 'gray', map: 'warm'}[layer.kind]})));
  const labels = [];
  layers.forEach((layer, at) => {
    const volume = nv.volumes[at];
    if (layer.kind !== 'label') return;
    const counts = count(volume.img);
    volume.setColormapLabel(labelMap(Object.keys(counts)));
    labels.push({name: layer.name, counts, voxel_ml: layer.voxel_ml});
  });
  nv.updateGLVolume();
  return labels;
}

async function pixels(url) {
  const picture = new Image();
  picture.src = url;
  await picture.decode();
  const canvas = document.createElement('canvas');
  canvas.width = picture.naturalWidth;
  canvas.height = picture.naturalHeight;
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.drawImage(picture, 0, 0);
  return {canvas, context, data: context.getImageData(0, 0, canvas.width, canvas.height)};
}

async function drawPictures(layers, boxes) {
  $('volume').hidden = true;
  $('picture').hidden = false;
  $('picture').replaceChildren();
  const labels = [];
  for (const layer of layers) {
    const {canvas, context, data} = await pixels(layer.url);
    if (layer.kind !== 'image') {
      const values = data.data.filter((_, at) => at % 4 === 0);
      if (layer.kind === 'label') labels.push({name: layer.name, counts: count(values)});
      values.forEach((value, at) => {
        const [r, g, b] = layer.kind === 'label' ? (value ? rgb(value) : [0, 0, 0]) : [value, value / 3, 0];
        data.data.set([r, g, b, layer.kind === 'label' ? (value ? 255 : 0) : value], 4 * at);
      });
      context.putImageData(data, 0, 0);
    }
    layer.canvas = canvas;
    $('picture').append(canvas);
  }
  if (boxes.length) drawBoxes(boxes, layers[0].canvas);
  return labels;
}

function drawBoxes(boxes, canvas) {
  const space = 'http://www.w3.org/2000/svg', svg = document.createElementNS(space, 'svg');
  svg.setAttribute('viewBox', `0 0 ${canvas.width} ${canvas.height}`);
  for (const box of boxes) {
    const made = document.createElementNS(space, 'rect'), title = document.createElementNS(space, 'title');
    const [top, bottom] = box.rows, [left, right] = box.columns;
    Object.entries({x: left, y: top, width: right - left, height: bottom - top, fill: 'none',
      stroke: box.score === null ? '#009e73' : '#e69f00', 'vector-effect': 'non-scaling-stroke', 'stroke-width': 2,
      'stroke-dasharray': box.score === null ? '' : '6 3', opacity: box.score === null ? 1 : Math.max(box.score, 0.2)})
      .forEach(([name, value]) => made.setAttribute(name, value));
    title.textContent = box.score === null ? box.name : `${box.name} ${box.score.toFixed(2)}`;
    made.append(title);
    svg.append(made);
  }
  $('picture').append(svg);
}

async function draw(layers, boxes) {
  state.layers = layers;
  state.opacity = layers.map(layer => OPACITY[layer.kind]);
  // One label or map at a time is legible; the others can be switched on.
  const first = ['prediction', 'reference'].find(name => layers.some(layer => layer.name === name));
  state.shown = layers.map((layer, at) => at === 0 || layer.name === first);
  const labels = await (layers[0].volume ? drawVolumes(layers) : drawPictures(layers, boxes));
  showControls();
  apply();
  showCounts(labels);
}

async function choose(at) {
  const found = state.run.cases[at];
  if (!found || !found.drawn) return;
  state.chosen = at;
  const turn = ++state.turn;
  [...$('cases').tBodies[0].rows].forEach((row, place) => row.classList.toggle('chosen', place === at));
  $('cases').tBodies[0].rows[at].cells[0].scrollIntoView({block: 'nearest', inline: 'nearest'});
  document.body.dataset.ready = '';
  try {
    const {layers, boxes} = await (await read(`/view/cases/${at}`)).json();
    if (turn !== state.turn) return;
    await draw(layers, boxes);
    $('title').textContent = `${found.split} · ${found.id}` + (boxes.length ? ' · green true, orange dashed found' : '');
    $('message').textContent = '';
    location.hash = at;
    document.body.dataset.ready = String(at);
  } catch (error) {
    $('message').textContent = error.message;
    document.body.dataset.ready = 'error';
  }
}

// The next case in a direction that has something to draw.
function step(direction) {
  let at = state.chosen + direction;
  while (state.run.cases[at] && !state.run.cases[at].drawn) at += direction;
  choose(at);
}

function slices(key) {
  const types = [niivue.SLICE_TYPE.MULTIPLANAR, niivue.SLICE_TYPE.AXIAL, niivue.SLICE_TYPE.CORONAL, niivue.SLICE_TYPE.SAGITTAL, niivue.SLICE_TYPE.RENDER];
  if (state.nv) state.nv.setSliceType(types[Number(key) - 1]);
}

document.addEventListener('keydown', event => {
  if (event.target.tagName === 'INPUT' && event.target.type !== 'checkbox') return;
  if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
    event.preventDefault();
    step(event.key === 'ArrowDown' ? 1 : -1);
  } else if ('12345'.includes(event.key)) slices(event.key);
  else if (event.key in KEYS) {
    const name = KEYS[event.key];
    const at = state.layers.findIndex(layer => name ? layer.name === name : layer.kind === 'map');
    if (at > 0) { state.shown[at] = !state.shown[at]; apply(); }
  }
});

// Predictions for a file of the user's own, by the service.
async function predict(file) {
  document.body.dataset.ready = '';
  $('message').textContent = 'predicting …';
  try {
    const form = new FormData();
    form.append('files', file);
    const answer = await fetch('/predict', {method: 'POST', body: form, headers: {Accept: 'application/json'}});
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error);
    const results = Object.entries(found.files).filter(([name]) => /\.(nii\.gz|png)$/.test(name));
    const own = URL.createObjectURL(file), picture = /\.(png|jpe?g|bmp|gif)$/i.test(file.name);
    const layers = [{name: 'image', kind: 'image', url: own, file: file.name, volume: !picture}];
    const kind = state.run.family === 'segmentation' ? 'label' : 'image';
    for (const [name, text] of results) {
      const bytes = Uint8Array.from(atob(text), sign => sign.charCodeAt(0));
      layers.push({name: 'prediction', kind, url: URL.createObjectURL(new Blob([bytes])), file: name,
        volume: name.endsWith('.nii.gz')});
    }
    await draw(layers, []);
    $('title').textContent = file.name;
    $('message').textContent = [...found.messages, ...found.table.map(row => JSON.stringify(row))].join('\n');
    document.body.dataset.ready = 'predicted';
  } catch (error) {
    $('message').textContent = error.message;
    document.body.dataset.ready = 'error';
  }
}

async function start() {
  try {
    state.run = await (await read('/view/cases')).json();
  } catch (error) {
    $('message').textContent = error.message;
    return;
  }
  $('name').textContent = `${state.run.name} · ${state.run.family}`;
  $('report').hidden = !state.run.report;
  $('upload').hidden = !state.run.predicts;
  $('file').onchange = event => event.target.files.length && predict(event.target.files[0]);
  const head = element('tr', undefined, $('cases').tHead);
  for (const text of ['Case', 'Split', ...state.run.columns]) element('th', text, head);
  state.run.cases.forEach((found, at) => {
    const row = element('tr', undefined, $('cases').tBodies[0]);
    for (const text of [found.id, found.split, ...found.values.map(number)]) element('td', text, row);
    row.classList.toggle('empty', !found.drawn);
    row.onclick = () => choose(at);
  });
  const asked = Number(location.hash.slice(1) || -1);
  if (state.run.cases[asked] && state.run.cases[asked].drawn) choose(asked);
  else step(1);
}

start();
