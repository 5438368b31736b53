// The page of demo.py. Runs once after Gradio has inserted page.html into `element`. The server is stateless: each
// request contains the picture and the styles.
const el = {};
for (const node of element.querySelectorAll('[data-el]')) el[node.dataset.el] = node;

const PAPER = 512;          // pixels of the paper's shorter side
const MOST_UNDO = 20;
const MOST_KEPT = 24;
const QUIET = 250;          // milliseconds without a change before the samples follow
const AT_ONCE = 4;          // samples in a request, so that a stroke need not wait long for them
const BUSY_AGAIN = 250;

const pen = el.paper.getContext('2d', { willReadFrequently: true });
const state = {
  start: null, model: 0, way: '', size: 0, style: null, origin: { origin: 'sliders' },
  shownCode: '', samples: [], kept: [], keptOf: {}, keptCount: 0, maps: {}, papers: {}, undo: [], redo: [],
  revision: 0, encoded: null,
};

// ---- Requests to the server ----------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, text) { super(text); this.status = status; }
}

async function ask(path, options = {}, model = state.model) {
  const of = model ? `${path.includes('?') ? '&' : '?'}model=${model}` : '';
  let answer;
  try {
    answer = await fetch(`demo/${path}${of}`, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refused(0, 'The server does not answer. Is demo.py still running?');
  }
  if (!answer.ok) {
    const answered = await answer.json().catch(() => ({}));
    throw new Refused(answer.status,
      answered.error || `The server failed (status ${answer.status}); its terminal says why.`);
  }
  return answer;
}

const post = (path, asked, signal) => ask(path, {
  method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(asked), signal,
});

// Whether the answer to a request is obsolete because another model or direction has been selected.
function leaving() {
  const { model, way } = state;
  return () => state.model !== model || state.way !== way;
}

let faultTimer = 0, noticeTimer = 0;
function showFault(error) {
  if (error.name === 'AbortError') return;
  const text = error.message || String(error);
  el.fault.textContent = error.named ? text : text[0].toUpperCase() + text.slice(1);
  el.fault.hidden = false;
  clearTimeout(faultTimer);
  faultTimer = setTimeout(() => { el.fault.hidden = true; }, 10000);
}
function tell(text) {
  el.notice.textContent = text;
  el.notice.hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { el.notice.hidden = true; }, 2500);
}
let busy = 0;
function nowBusy(more) {
  busy += more;
  el.styleZone.setAttribute('aria-busy', busy > 0);
}
const safely = (work) => async (...given) => {
  nowBusy(1);
  try { await work(...given); } catch (error) { showFault(error); }
  nowBusy(-1);
};
const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// ---- The picture that is translated --------------------------------------------------------------------------------

function asDataUrl(blob) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(blob);
  });
}

// Until the user draws on an opened picture, the picture itself is sent, resized by the server to the model's size.
// After that, the content of the canvas is sent.
async function content() {
  const { revision, size, way } = state;
  const paper = state.papers[way];
  if (paper.source && paper.untouched) {
    if (paper.sourceSize !== size) await readSource(paper, way, size);
    return paper.exact;
  }
  if (!state.encoded || state.encoded.revision !== revision) {
    const blob = await new Promise((done) => el.paper.toBlob(done, 'image/png'));
    state.encoded = { revision, url: await asDataUrl(blob) };
  }
  return state.encoded.url;
}

async function resized({ file, example }, way, size) {
  const answer = await ask(`content?way=${way}&size=${size}` + (example === undefined ? '' : `&example=${example}`),
    { method: 'POST', body: file });
  return asDataUrl(await answer.blob());
}
async function readSource(paper, way, size) {
  paper.exact = await resized(paper.source, way, size);
  paper.sourceSize = size;
}

function loaded(url) {
  return new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => failed(new Error('this picture cannot be shown'));
    image.src = url;
  });
}

function faultOf(file, text) {
  return Object.assign(new Error(`${file.name}: ${text}`), { named: true });
}
function checkedFile(file) {
  const most = state.start.most_bytes, mib = (bytes) => `${Math.ceil(bytes / 2 ** 20)} MiB`;
  if (file.size > most) throw faultOf(file, `${mib(file.size)} are too large; at most ${mib(most)}`);
}
function named(error, file) {
  return error.status >= 400 && error.status < 500 ? faultOf(file, error.message.replace(/^this file: /, '')) : error;
}

async function openInput(source, name = '') {
  const { way, size } = state, gone = leaving();
  const read = { source };
  if (source.file) checkedFile(source.file);
  let image;
  try {
    await readSource(read, way, size);
    // The canvas can show it at a higher resolution than that of the request.
    image = await loaded(await resized(source, way, Math.max(...state.start.ways[way].sizes)));
  } catch (error) { throw source.file ? named(error, source.file) : error; }
  if (gone()) return;
  remember();
  const scale = PAPER / Math.min(image.width, image.height);
  sizePaper(Math.round(image.width * scale), Math.round(image.height * scale));
  pen.imageSmoothingQuality = 'high';
  pen.drawImage(image, 0, 0, el.paper.width, el.paper.height);
  Object.assign(state.papers[way], read, { untouched: true, empty: false });
  if (name) tell(name);
  changed();
}

async function openOutline(file) {
  checkedFile(file);
  let answer;
  try {
    answer = await ask(`outline?way=${state.way}`, { method: 'POST', body: file });
  } catch (error) { throw named(error, file); }
  const outline = new File([await answer.blob()], 'outline.png', { type: 'image/png' });
  await openInput({ file: outline }, `Outline of ${file.name}`);
}

function sizePaper(width, height) {
  if (el.paper.width !== width) el.paper.width = width;
  if (el.paper.height !== height) el.paper.height = height;
  el.paperFrame.style.aspectRatio = `${width} / ${height}`;
  pen.fillStyle = '#fff';
  pen.fillRect(0, 0, width, height);
}

// ---- Drawing -------------------------------------------------------------------------------------------------------

function snapshot() {
  return { pixels: pen.getImageData(0, 0, el.paper.width, el.paper.height), paper: { ...state.papers[state.way] } };
}
function restore({ pixels, paper }) {
  sizePaper(pixels.width, pixels.height);
  pen.putImageData(pixels, 0, 0);
  state.papers[state.way] = { ...paper };
}
function showHistory() {
  el.undo.disabled = !state.undo.length;
  el.redo.disabled = !state.redo.length;
}
function remember() {
  state.undo.push(snapshot());
  if (state.undo.length > MOST_UNDO) state.undo.shift();
  state.redo = [];
  showHistory();
}
function forget() {
  state.undo = [];
  state.redo = [];
  showHistory();
}
function step(from, to) {
  if (!from.length || stroke) return;
  to.push(snapshot());
  restore(from.pop());
  showHistory();
  changed();
}
const undo = () => step(state.undo, state.redo), redo = () => step(state.redo, state.undo);
function clear() {
  remember();
  state.papers[state.way] = { empty: true };
  sizePaper(PAPER, PAPER);
  changed();
}
function line(from, to) {
  const erasing = el.eraser.getAttribute('aria-pressed') === 'true';
  const grey = state.start.ways[state.way].channels === 1;
  pen.strokeStyle = erasing ? '#fff' : grey ? '#000' : el.colour.value;
  pen.lineWidth = erasing ? Math.max(18, 3 * el.width.value) : Number(el.width.value);
  pen.lineCap = pen.lineJoin = 'round';
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
  Object.assign(state.papers[state.way], { untouched: false, source: null, empty: false });
}
function changed() {
  state.revision++;
  el.hint.hidden = !state.papers[state.way].empty;
  live();
  samplesFollow();
}

function placeOn(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width * canvas.width,
    (event.clientY - box.top) / box.height * canvas.height];
}
let stroke = null;
el.paper.addEventListener('pointerdown', (event) => {
  if (event.button || stroke) return;
  el.paper.setPointerCapture(event.pointerId);
  remember();
  stroke = { id: event.pointerId, at: placeOn(el.paper, event) };
  line(stroke.at, stroke.at);
  changed();
});
el.paper.addEventListener('pointermove', (event) => {
  if (!stroke || event.pointerId !== stroke.id) return;
  const steps = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  for (const step of steps.length ? steps : [event]) {
    const at = placeOn(el.paper, step);
    line(stroke.at, at);
    stroke.at = at;
  }
  changed();
});
for (const kind of ['pointerup', 'pointercancel']) {
  el.paper.addEventListener(kind, (event) => { if (stroke && event.pointerId === stroke.id) stroke = null; });
}

const keys = { at: [PAPER / 2, PAPER / 2], down: false };
function showCursor() {
  keys.at = [Math.min(keys.at[0], el.paper.width), Math.min(keys.at[1], el.paper.height)];
  el.cursor.hidden = !el.paper.matches(':focus-visible');
  el.cursor.classList.toggle('down', keys.down);
  el.cursor.style.left = `${keys.at[0] / el.paper.width * 100}%`;
  el.cursor.style.top = `${keys.at[1] / el.paper.height * 100}%`;
}
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
el.paper.addEventListener('keydown', (event) => {
  if (event.key === ' ' || event.key === 'Enter') {
    if (event.repeat) return;
    keys.down = !keys.down;
    if (keys.down) {
      remember();
      line(keys.at, keys.at);
      changed();
    }
  } else if (event.key === 'Escape') {
    keys.down = false;
  } else if (ARROWS[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const step = event.shiftKey ? 32 : 8;
    const to = [0, 1].map((i) => Math.max(0, Math.min([el.paper.width, el.paper.height][i],
      keys.at[i] + step * ARROWS[event.key][i])));
    if (keys.down) {
      line(keys.at, to);
      changed();
    }
    keys.at = to;
  } else {
    return;
  }
  event.preventDefault();
  showCursor();
});
el.paper.addEventListener('focus', showCursor);
el.paper.addEventListener('blur', () => { keys.down = false; showCursor(); });

function choose(tool) {
  for (const other of [el.pen, el.eraser]) other.setAttribute('aria-pressed', other === tool);
}
el.pen.addEventListener('click', () => choose(el.pen));
el.eraser.addEventListener('click', () => choose(el.eraser));
el.undo.addEventListener('click', undo);
el.redo.addEventListener('click', redo);
el.clear.addEventListener('click', clear);

// ---- Translating ---------------------------------------------------------------------------------------------------

// While the user draws or moves a slider, there is one request at a time, and the next one is for the newest state.
// States in between are skipped.
let wanted = false, running = false, busyTries = 0, blend = null;
function live() {
  wanted = true;
  if (!running) pump();
}
async function pump() {
  running = true;
  nowBusy(1);
  while (wanted) {
    wanted = false;
    const blending = blend, { way, style } = state, gone = leaving();
    blend = null;
    if (!style) break;
    if (state.papers[way].empty) {
      showResult('');
      continue;
    }
    const begun = performance.now();
    try {
      const asked = { content: await content(), way, size: state.size,
        ...(blending ? { blend: blending } : { styles: [style] }) };
      const answer = await (await post('translate', asked)).json();
      if (gone()) continue;
      if (blending && !wanted) setStyle(answer.styles[0], { origin: 'blend' }, false);
      showResult(answer.pictures[0]);
      state.shownCode = codeText(answer.styles[0]);
      el.figures.textContent = `${state.size} px, ${Math.round(performance.now() - begun)} ms`;
      busyTries = 0;
    } catch (error) {
      if (gone()) continue;
      if (error.status === 503 && busyTries++ < 10) {
        await wait(BUSY_AGAIN);
        blend = blend || blending;
        wanted = true;
      } else {
        busyTries = 0;
        showFault(error);
      }
    }
  }
  running = false;
  nowBusy(-1);
}
// An empty canvas is not translated, because the output of the model would be meaningless.
function showResult(url) {
  for (const image of [el.result, el.mini]) {
    image.hidden = !url;
    if (url) image.src = url; else image.removeAttribute('src');
  }
  el.resultHint.hidden = Boolean(url);
  for (const button of [el.keep, el.save, el.back, el.saveInput]) button.disabled = !url;
  if (!url) el.figures.textContent = '';
}

let quietTimer = 0, following = null;
function samplesFollow() {
  clearTimeout(quietTimer);
  if (following) following.abort();
  quietTimer = setTimeout(safely(drawSamples), QUIET);
}
async function drawSamples() {
  if (following) following.abort();
  following = new AbortController();
  const { signal } = following;
  const { way, size } = state;
  const shown = [...state.samples, ...state.kept];
  if (state.papers[way].empty) {
    for (const entry of shown) { entry.picture = ''; entry.image.removeAttribute('src'); }
    showEnds();
    return;
  }
  for (let i = 0; i < shown.length; i += AT_ONCE) {
    const part = shown.slice(i, i + AT_ONCE);
    const asked = { content: await content(), way, size, styles: part.map((entry) => entry.style) };
    let answer;
    for (let tries = 0; !answer; tries++) {
      try {
        answer = await (await post('translate', asked, signal)).json();
      } catch (error) {
        if (error.status !== 503 || tries >= 8) throw error;
        await wait(BUSY_AGAIN);
      }
    }
    if (signal.aborted) return;
    part.forEach((entry, n) => { entry.picture = answer.pictures[n]; entry.image.src = entry.picture; });
  }
  showEnds();
}

// ---- Styles --------------------------------------------------------------------------------------------------------

const codeText = (style) => style.map((number) => String(Number(number.toPrecision(9)))).join(',');

function setStyle(style, origin, translateIt = true) {
  state.style = style;
  state.origin = origin;
  style.forEach((number, i) => {
    const [range, output] = sliders[i];
    const most = Math.max(3, Math.ceil(Math.abs(number)));
    range.min = -most;
    range.max = most;
    range.value = number;
    output.textContent = number.toFixed(2);
  });
  el.code.value = codeText(style);
  el.code.setCustomValidity('');
  for (const entry of [...state.samples, ...state.kept]) {
    entry.button.setAttribute('aria-pressed', codeText(entry.style) === el.code.value);
  }
  drawMap();
  if (translateIt) live();
}

let sliders = [];
function makeSliders() {
  el.sliders.replaceChildren();
  sliders = Array.from({ length: state.start.style_length }, (_, i) => {
    const label = document.createElement('label'), range = document.createElement('input');
    const output = document.createElement('output');
    Object.assign(range, { type: 'range', step: 0.01, min: -3, max: 3, value: 0 });
    range.setAttribute('aria-label', `Number ${i + 1} of the style`);
    range.addEventListener('input', () => {
      const style = [...state.style];
      style[i] = Math.fround(Number(range.value));
      setStyle(style, { origin: 'sliders' });
    });
    label.append(String(i + 1), range, output);
    el.sliders.append(label);
    return [range, output];
  });
}
el.code.addEventListener('change', safely(async () => {
  const words = el.code.value.trim().split(/[\s,]+/), style = words.map(Number);
  if (style.length !== state.start.style_length || words.includes('') || !style.every(Number.isFinite)) {
    throw new Error(`a style code of this model is ${state.start.style_length} numbers, parted by commas`);
  }
  setStyle(style.map(Math.fround), { origin: 'sliders' });
}));

function cell(entry, label) {
  entry.button = document.createElement('button');
  entry.button.type = 'button';
  entry.button.className = 'cell';
  entry.image = document.createElement('img');
  entry.image.alt = '';
  if (entry.picture) entry.image.src = entry.picture;
  entry.button.setAttribute('aria-label', label);
  entry.button.title = label;
  entry.button.append(entry.image);
  entry.button.addEventListener('click', () => setStyle(entry.style, entry.origin));
  return entry.button;
}

async function sample(seed) {
  const { way } = state, gone = leaving();
  const count = Number(el.count.value);
  const { styles } = await (await post('sample', { way, seed, count })).json();
  if (gone()) return;
  el.seed.value = seed;
  state.samples = styles.map((style, number) => ({ style, origin: { origin: 'sampled', seed, number, count } }));
  el.strip.replaceChildren(...state.samples.map((entry, i) => cell(entry, `Sample ${i + 1} of seed ${seed}`)));
  showChoices();
  setStyle(state.samples[0].style, state.samples[0].origin);
  clearTimeout(quietTimer);
  await drawSamples();
}
function seedGiven() {
  const seed = Number(el.seed.value);
  if (el.seed.value.trim() === '' || !Number.isSafeInteger(seed)) throw new Error('the seed is to be a whole number');
  return seed;
}
el.sample.addEventListener('click', safely(() => sample(Math.floor(Math.random() * 100000))));
el.seed.addEventListener('change', safely(async () => sample(seedGiven())));
el.count.addEventListener('change', safely(async () => sample(seedGiven())));

async function openStyle(file) {
  const { way } = state, gone = leaving();
  checkedFile(file);
  let found;
  try {
    found = await (await ask(`style?way=${way}`, { method: 'POST', body: file })).json();
  } catch (error) { throw named(error, file); }
  if (gone()) return;
  setStyle(found.style, { origin: 'picture' });
  tell(`Style of ${file.name}`);
}

// ---- Keeping and blending ------------------------------------------------------------------------------------------

el.keep.addEventListener('click', () => {
  if (state.kept.length >= MOST_KEPT) {
    tell(`${MOST_KEPT} styles are kept; take one away first`);
    return;
  }
  const seen = state.shownCode === codeText(state.style);   // otherwise its translation is not complete yet
  const entry = { style: state.style, origin: state.origin, picture: seen ? el.result.src : '',
    number: ++state.keptCount };
  const place = entry.place = document.createElement('span'), drop = document.createElement('button');
  Object.assign(drop, { type: 'button', className: 'drop', textContent: '×', title: `Take away kept ${entry.number}` });
  drop.setAttribute('aria-label', drop.title);
  drop.addEventListener('click', () => {
    state.kept.splice(state.kept.indexOf(entry), 1);
    place.remove();
    el.keptTitle.hidden = !state.kept.length;
    showChoices();
    el.keep.focus();
  });
  place.append(cell(entry, `Kept ${entry.number}`), drop);
  el.kept.append(place);
  state.kept.push(entry);
  entry.button.setAttribute('aria-pressed', true);
  el.keptTitle.hidden = false;
  showChoices(true);
  if (!seen) samplesFollow();
  tell(`Kept ${entry.number}`);
});

function ends() {
  const all = {};
  state.kept.forEach((entry) => { all[`k${entry.number}`] = entry; });
  state.samples.forEach((entry, i) => { all[`s${i}`] = entry; });
  return all;
}
function showChoices(justKept = false) {
  const all = ends(), names = Object.keys(all);
  const label = (name) => (name[0] === 'k' ? `Kept ${name.slice(1)}` : `Sample ${Number(name.slice(1)) + 1}`);
  const newest = state.kept.slice(-2).map((entry) => `k${entry.number}`);
  for (const [select, fallback, i] of [[el.first, 's0', 0], [el.last, 's1', 1]]) {
    const before = select.value;
    select.replaceChildren(...names.map((name) => new Option(label(name), name)));
    select.value = justKept && newest.length === 2 ? newest[i]
      : all[before] ? before : all[fallback] ? fallback : names[0];
  }
  showEnds();
}
function showEnds() {
  const all = ends();
  for (const [select, image] of [[el.first, el.firstPicture], [el.last, el.lastPicture]]) {
    const entry = all[select.value];
    if (entry && entry.picture) image.src = entry.picture; else image.removeAttribute('src');
  }
}
function blendNow() {
  const all = ends(), first = all[el.first.value], last = all[el.last.value];
  if (!first || !last) return;
  blend = { first: first.style, last: last.style, part: Number(el.part.value) };
  live();
}
el.part.addEventListener('input', blendNow);
for (const select of [el.first, el.last]) select.addEventListener('change', () => { showEnds(); blendNow(); });

// ---- The map -------------------------------------------------------------------------------------------------------

const ink = el.map.getContext('2d');
async function fetchMap(way) {
  const domain = state.start.ways[way].target, { maps, model } = state;
  while (state.model === model) {
    const found = await (await ask(`map/${domain}`)).json();
    if (found.map) found.image = await loaded(found.map.picture);
    maps[way] = found;
    if (state.model === model && state.way === way) showMap();
    if (found.map || found.why !== undefined) return;
    await wait(700);
  }
}
function showMap() {
  const entry = state.maps[state.way];
  el.mapFrame.hidden = !(entry && entry.map);
  if (!entry) {
    el.mapAbout.textContent = '';
  } else if (entry.map) {
    const [first, second] = entry.map.explained.map((part) => Math.round(100 * part));
    el.mapAbout.textContent = `Click, or use the arrow keys. ${entry.map.images} styles by their first two ` +
      `components (${first}% and ${second}% of the variance); circles: N(0, 1).`;
  } else {
    el.mapAbout.textContent = entry.why === undefined
      ? `Computing the map: ${entry.done} of ${entry.of || '…'} images` : `No map: ${entry.why}.`;
  }
  drawMap();
}
function onMap(map, [x, y]) {
  return [((x - map.middle[0]) / map.side + 0.5) * el.map.width,
    (0.5 - (y - map.middle[1]) / map.side) * el.map.height];
}
function pointOf(map, style) {
  return map.axes.map((axis) => axis.reduce((sum, part, i) => sum + part * (style[i] - map.mean[i]), 0));
}
function codeAt(map, [x, y]) {
  return map.mean.map((mean, i) => Math.fround(mean + x * map.axes[0][i] + y * map.axes[1][i]));
}
function drawMap() {
  const entry = state.maps[state.way];
  if (!entry || !entry.map) return;
  const { map, image } = entry, { width } = el.map;
  ink.globalCompositeOperation = 'source-over';
  ink.fillStyle = '#fff';
  ink.fillRect(0, 0, width, width);
  ink.strokeStyle = '#c9d2e0';
  ink.lineWidth = 2;
  const middle = onMap(map, map.prior);
  for (const radius of [1, 2, 3]) {
    ink.beginPath();
    ink.arc(...middle, radius / map.side * width, 0, 2 * Math.PI);
    ink.stroke();
  }
  ink.fillStyle = '#b4bdca';
  for (const dot of map.dots) {
    const [x, y] = onMap(map, dot);
    ink.fillRect(x - 2, y - 2, 4, 4);
  }
  ink.globalCompositeOperation = 'multiply';
  const side = map.share * width;
  map.thumbnails.forEach((point, i) => {
    const [x, y] = onMap(map, point);
    ink.drawImage(image, map.thumbnail * (i % 10), map.thumbnail * Math.floor(i / 10), map.thumbnail, map.thumbnail,
      x - side / 2, y - side / 2, side, side);
  });
  ink.globalCompositeOperation = 'source-over';
  if (state.style) {
    const [x, y] = onMap(map, pointOf(map, state.style)).map((place) => Math.max(12, Math.min(width - 12, place)));
    for (const [colour, thick] of [['#fff', 9], ['#1f5fd0', 5]]) {
      ink.strokeStyle = colour;
      ink.lineWidth = thick;
      ink.beginPath();
      ink.arc(x, y, 14, 0, 2 * Math.PI);
      ink.stroke();
    }
  }
}
function goTo(point) {
  setStyle(codeAt(state.maps[state.way].map, point), { origin: 'map' });
}
function pointAt(event) {
  const { map } = state.maps[state.way], [x, y] = placeOn(el.map, event);
  return [(x / el.map.width - 0.5) * map.side + map.middle[0], (0.5 - y / el.map.height) * map.side + map.middle[1]];
}
el.map.addEventListener('pointerdown', (event) => {
  if (event.button) return;
  el.map.setPointerCapture(event.pointerId);
  goTo(pointAt(event));
});
el.map.addEventListener('pointermove', (event) => {
  if (el.map.hasPointerCapture(event.pointerId)) goTo(pointAt(event));
});
el.map.addEventListener('keydown', (event) => {
  if (!ARROWS[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const { map } = state.maps[state.way], step = map.side / (event.shiftKey ? 10 : 40);
  const [x, y] = pointOf(map, state.style), [right, down] = ARROWS[event.key];
  goTo([x + step * right, y - step * down]);
});

// ---- Saving --------------------------------------------------------------------------------------------------------

function download(url, name) {
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
}
el.save.addEventListener('click', safely(async () => {
  const { way } = state;
  const blob = await (await post('save', { content: await content(), way, size: state.size, style: state.style,
    ...state.origin })).blob();
  const url = URL.createObjectURL(blob);
  download(url, `${state.start.ways[way].name}.png`);
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  tell('Saved; its text chunks say how to make it again');
}));
el.saveInput.addEventListener('click', safely(async () => {
  download(await content(), `${state.start.ways[state.way].name}_input.png`);
}));
el.back.addEventListener('click', safely(async () => {
  const file = new File([await (await fetch(el.result.src)).blob()], 'translation.png');
  const other = state.way === 'a2b' ? 'b2a' : 'a2b';
  await chooseWay(other, true);
  await openInput({ file });
}));

// ---- Opening and dropping ------------------------------------------------------------------------------------------

el.openInput.addEventListener('click', () => el.inputFile.click());
el.openStyle.addEventListener('click', () => el.styleFile.click());
el.inputFile.addEventListener('change', safely(async () => {
  const [file] = el.inputFile.files;
  el.inputFile.value = '';
  if (file) await openInput({ file }, file.name);
}));
el.openOutline.addEventListener('click', () => el.outlineFile.click());
el.outlineFile.addEventListener('change', safely(async () => {
  const [file] = el.outlineFile.files;
  el.outlineFile.value = '';
  if (file) await openOutline(file);
}));
el.styleFile.addEventListener('change', safely(async () => {
  const [file] = el.styleFile.files;
  el.styleFile.value = '';
  if (file) await openStyle(file);
}));
for (const [zone, open] of [[el.inputZone, (file) => openInput({ file }, file.name)], [el.styleZone, openStyle]]) {
  zone.addEventListener('dragover', () => zone.classList.add('dropping'));
  for (const kind of ['dragleave', 'drop']) zone.addEventListener(kind, () => zone.classList.remove('dropping'));
  zone.addEventListener('drop', safely(async (event) => {
    const [file] = event.dataTransfer.files;
    if (file) await open(file);
  }));
}
document.addEventListener('paste', safely(async (event) => {
  const [file] = event.clipboardData.files;
  if (!file || el.keysHelp.open) return;
  event.preventDefault();
  if (document.activeElement === el.paper) await openInput({ file }, file.name); else await openStyle(file);
}));
// A picture dropped outside the canvas must not replace the page.
for (const kind of ['dragover', 'drop']) window.addEventListener(kind, (event) => event.preventDefault());

// ---- Keyboard help -------------------------------------------------------------------------------------------------

const typing = (node) => node.matches('input:not([type=range], [type=radio], [type=color]), textarea, select');
document.addEventListener('keydown', (event) => {
  if (typing(event.target) || el.keysHelp.open || event.altKey) return;
  const key = event.key.toLowerCase(), control = event.ctrlKey || event.metaKey;
  if (control && key === 'z') {
    if (event.shiftKey) redo(); else undo();
  } else if (control && key === 'y') {
    redo();
  } else if (!control && key === '?') {
    el.keysHelp.showModal();
  } else {
    return;
  }
  event.preventDefault();
});
el.openKeys.addEventListener('click', () => el.keysHelp.showModal());

// ---- Links ---------------------------------------------------------------------------------------------------------

// A link contains the model, direction, size, seed and style. It does not contain the drawing, but can name an example.
function linkNow() {
  const { model, way, size, style, origin } = state, { source } = state.papers[way];
  const params = new URLSearchParams({ model, way, size, seed: el.seed.value, count: el.count.value });
  if (source && source.example !== undefined) params.set('example', source.example);
  if (origin.origin === 'sampled') params.set('sample', origin.number);
  params.set('code', codeText(style));
  return `${location.origin}${location.pathname}#${params}`;
}
el.share.addEventListener('click', safely(async () => {
  const link = linkNow();
  try {
    await navigator.clipboard.writeText(link);
    tell('Copied: a link with seed and style, without the drawing');
  } catch {   // not allowed, or not available without https
    history.replaceState(null, '', link);
    tell('The address bar has the link: seed and style, without the drawing');
  }
}));
async function openLink(params) {
  const whole = (name) => (/^\d{1,17}$/.test(params.get(name) || '') ? Number(params.get(name)) : -1);
  const way = params.get('way');
  const model = whole('model');
  if (state.start.models[model] !== undefined && model !== state.model) await chooseModel(model);
  if (state.start.ways[way] && way !== state.way) await chooseWay(way);
  if (state.start.ways[state.way].sizes.includes(whole('size'))) {
    state.size = whole('size');
    el.size.value = state.size;
  }
  const count = params.get('count');
  if ([...el.count.options].some((option) => option.value === count)) el.count.value = count;
  if (state.start.ways[state.way].examples[whole('example')]) await openInput({ example: whole('example') });
  if (/^-?\d{1,15}$/.test(params.get('seed') || '')) await sample(Number(params.get('seed')));
  const style = (params.get('code') || '').split(',').map((word) => (word.trim() ? Math.fround(Number(word)) : NaN));
  if (style.length !== state.start.style_length || !style.every(Number.isFinite)) return;
  const sampled = state.samples[whole('sample')];
  const same = sampled && codeText(sampled.style) === codeText(style);
  setStyle(style, same ? sampled.origin : { origin: 'sliders' });
}

// ---- Initialisation ------------------------------------------------------------------------------------------------

// `translated`: the caller sets the picture afterwards, so no example is loaded.
async function chooseWay(way, translated = false) {
  if (state.way) state.papers[state.way].snapshot = snapshot();
  const settings = state.start.ways[way];
  const kept = state.keptOf[way] = state.keptOf[way] || [];   // style codes belong to one domain
  Object.assign(state, { way, size: settings.size, samples: [], kept, style: null });
  state.revision++;
  el.kept.replaceChildren(...kept.map((entry) => entry.place));
  el.keptTitle.hidden = !kept.length;
  forget();
  el.part.value = 0;
  for (const input of el.ways.querySelectorAll('input')) input.checked = input.value === way;
  el.size.replaceChildren(...settings.sizes.map((size) => new Option(`${size} px`, size)));
  el.size.value = settings.size;
  el.fromName.textContent = settings.from;
  el.toName.textContent = settings.to;
  el.colourLabel.hidden = settings.channels === 1;
  el.openOutline.hidden = !settings.outlines;
  el.hint.textContent = settings.examples.some(Boolean) ? 'Draw here, drop a picture, or take an example'
    : 'Draw here, or drop a picture';
  el.back.hidden = Object.keys(state.start.ways).length < 2;
  el.examples.replaceChildren(...settings.examples.map((url, i) => {
    const button = document.createElement('button'), image = document.createElement('img');
    if (!url) return '';
    Object.assign(image, { src: url, alt: '' });
    Object.assign(button, { type: 'button', title: `Example ${i + 1}` });
    button.setAttribute('aria-label', button.title);
    button.append(image);
    button.addEventListener('click', safely(() => openInput({ example: i })));
    return button;
  }));
  const before = state.papers[way];
  if (before && before.snapshot) {
    restore(before.snapshot);
  } else {
    state.papers[way] = { empty: true };
    sizePaper(PAPER, PAPER);
  }
  el.hint.hidden = !state.papers[way].empty;
  showMap();
  if (!state.maps[way]) fetchMap(way).catch(showFault);
  const first = settings.examples.findIndex(Boolean);
  if (first >= 0 && state.papers[way].empty && !translated) {
    await openInput({ example: first });
    forget();
  }
  await sample(seedGiven());
}

el.size.addEventListener('change', () => {
  state.size = Number(el.size.value);
  changed();
});

function begin(start) {
  state.start = start;
  const ways = Object.entries(state.start.ways);
  el.ways.querySelectorAll('label').forEach((label) => label.remove());
  for (const [way, settings] of ways) {
    const label = document.createElement('label'), input = document.createElement('input');
    Object.assign(input, { type: 'radio', name: 'munit-way', value: way });
    input.addEventListener('change', safely(() => chooseWay(way)));
    label.append(input, `${settings.from} → ${settings.to}`);
    el.ways.append(label);
  }
  makeSliders();
}
// The drawing is kept if the other model has the same direction. Styles are not, because they belong to a model.
async function chooseModel(model) {
  const start = await (await ask('start', {}, model)).json();
  const { way } = state, drawn = snapshot();
  drawn.paper.sourceSize = 0;   // a file is read again, with the channels of the other model
  if (drawn.paper.source && drawn.paper.source.example !== undefined) {   // the other model has different examples
    Object.assign(drawn.paper, { source: null, untouched: false });
  }
  clearTimeout(quietTimer);
  if (following) following.abort();
  Object.assign(state, { model, way: '', maps: {}, keptOf: {}, papers: {}, style: null });
  el.model.value = model;
  begin(start);
  const found = state.start.ways[way] ? way : Object.keys(state.start.ways)[0];
  if (found === way && !drawn.paper.empty) state.papers[way] = { snapshot: drawn };
  await chooseWay(found);
}
el.model.addEventListener('change', safely(() => chooseModel(Number(el.model.value))));

safely(async () => {
  for (const count of [4, 8, 12]) el.count.append(new Option(`${count} styles`, count));
  el.count.value = 8;
  begin(await (await ask('start')).json());
  state.start.models.forEach((name, i) => el.model.append(new Option(name, i)));
  el.modelLabel.hidden = state.start.models.length < 2;
  await chooseWay(Object.keys(state.start.ways)[0]);
  if (location.hash) await openLink(new URLSearchParams(location.hash.slice(1)));
  el.main.dataset.ready = 'yes';
})();
window.addEventListener('hashchange', safely(() => openLink(new URLSearchParams(location.hash.slice(1)))));
