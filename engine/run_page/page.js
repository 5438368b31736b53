'use strict';
// The page of a run. run.js calls showRun with the data each time it is loaded. The reader's settings are kept in the
// address, so that they survive reloading. Text from users is only inserted as text, never as HTML.
(() => {
  const WAYS = {a2b: 'A → B', b2a: 'B → A'}, SPLITS = {train: 'training images', test: 'test images'};
  const GROUPS = [
    ['Totals', /_total$/], ['Adversarial terms', /^loss_(dis|gen_adv)/],
    ['Other terms of the generators', /^loss_gen_/], ['Style codes against N(0, 1)', /^style_/],
    ['Iterations skipped because of gradients that were not finite', /^bad_steps$/], ['Gradient norms', /^grad_norm_/],
    ['Learning rates', /^lr_/], ['Clipped steps so far', /^clipped_steps_/], ['Seconds per iteration', /^s\/it$/],
    ['Others', /^/]];
  const COLOURS = 8, MOST_BANDS = 4, DASHES = {a: '', b: '5 3', aba: '', bab: '5 3'};
  const CHART = {height: 230, left: 50, right: 10, top: 8, bottom: 24};
  const SVG = 'http://www.w3.org/2000/svg';
  let run = null, shownAt = null, playing = null, hovered = null;

  // -- small helpers --------------------------------------------------------------------------------------------------

  const $ = id => document.getElementById(id);

  function make(tag, attributes = {}, ...children) {
    const svg = /^(svg|g|path|line|rect|text|clipPath|defs|title)$/.test(tag);
    const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
      else if (name === 'style') Object.assign(element.style, value);
      else if (value !== false && value !== null) element.setAttribute(name, value === true ? '' : value);
    }
    element.append(...children.filter(child => child !== null));
    return element;
  }

  const whole = number => number.toLocaleString('en');

  function short(value) {
    if (value === null || value === undefined) return '–';
    if (value === 0) return '0';
    const size = Math.abs(value);
    return size >= 1e6 || size < 1e-3 ? value.toExponential(2).replace(/\.?0+e/, 'e') : String(+value.toPrecision(4));
  }

  function steps(value) {
    if (value >= 1e6) return `${+(value / 1e6).toPrecision(4)}M`;
    return value >= 1e4 ? `${+(value / 1e3).toPrecision(4)}k` : whole(value);
  }

  function lasting(seconds) {
    if (seconds < 100) return `${Math.round(seconds)} s`;
    const minutes = Math.round(seconds / 60), hours = Math.floor(minutes / 60);
    if (hours < 1) return `${minutes} min`;
    return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
  }

  /** A time in the reader's time zone, with the date unless it is today. */
  function moment(seconds) {
    const two = number => String(number).padStart(2, '0'), at = new Date(1000 * seconds);
    const time = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(':');
    const day = [at.getFullYear(), at.getMonth() + 1, at.getDate()].map(two).join('-');
    return at.toDateString() === new Date().toDateString() ? time : `${day} ${time}`;
  }

  // -- the reader's settings ------------------------------------------------------------------------------------------

  const words = new URLSearchParams(location.hash.slice(1));
  const list = name => new Set((words.get(name) || '').split(',').filter(Boolean));
  const set = {
    split: words.get('split') === 'test' ? 'test' : words.get('split') === 'train' ? 'train' : null,
    at: /^\d+$/.test(words.get('at') || '') ? +words.get('at') : null,      // null: always the latest
    smooth: Math.min(0.99, Math.max(0, +(words.get('smooth') || 0.5) || 0)),
    log: words.get('log') === '1', off: list('off'), on: list('on'), open: list('open'),
    differing: words.get('differing') === '1'};

  function keep() {
    const found = new URLSearchParams();
    if (set.split) found.set('split', set.split);
    if (set.at !== null) found.set('at', set.at);
    if (set.smooth !== 0.5) found.set('smooth', set.smooth);
    for (const name of ['log', 'differing']) if (set[name]) found.set(name, '1');
    for (const name of ['off', 'on', 'open']) if (set[name].size) found.set(name, [...set[name]].join(','));
    try {
      history.replaceState(null, '', `#${found}`);
    } catch {
      location.replace(`#${found}`);
    }
  }

  // -- the header -----------------------------------------------------------------------------------------------------

  const silence = () => Date.now() / 1000 - run.written;
  const expected = () => (run.pace || 1) * (run.interval || 1);   // seconds until run.js is written again
  const silent = () => run.state === 'running' && silence() > 120 + 4 * expected();

  function showHead() {
    if (run.runs) {
      $('state').textContent = `${run.runs.length} runs`;
      $('facts').replaceChildren(...run.facts.map(([name, standing]) => make('div', {}, make('dt', {}, name),
                                                                             make('dd', {}, standing))));
      return;
    }
    const state = silent() ? 'silent' : run.state, line = $('state');
    const said = {
      running: ['Running', '. This page updates itself.'],
      silent: ['Silent', `: nothing was written for ${lasting(silence())}. The run was killed, or it hangs, or this is `
                         + 'a copy of a run that continued.'],
      finished: ['Finished', '.'], stopped: ['Stopped', run.why ? ` by ${run.why}.` : '.'],
      failed: ['Failed', run.why ? `: ${run.why}` : '.'],
      unknown: ['Not finished', ', according to the files in its folder.']}[state];
    line.dataset.state = state;
    line.replaceChildren(make('b', {}, said[0]), said[1]);
    $('progress').hidden = !run.max_iter;
    if (run.max_iter) $('progress').value = Math.min(1, run.step / run.max_iter);
    $('resume').hidden = !(run.resume && ['silent', 'stopped'].includes(state));
    if ($('resume').dataset.line !== run.resume) {   // replacing equal text would lose the reader's selection
      $('resume').dataset.line = run.resume;
      $('resume').replaceChildren('To continue:', make('code', {}, run.resume || ''));
    }

    const left = run.pace && state === 'running' ? run.pace * (run.max_iter - run.step) - silence() : null;
    const facts = [
      ['Iterations', run.max_iter ? `${whole(run.step)} of ${whole(run.max_iter)}` : whole(run.step)],
      ['Speed', run.pace ? `${short(run.pace)} s/it` : null],
      ['Time left', left === null ? null : lasting(Math.max(0, left))],
      ['Last written', run.written ? `${moment(run.written)}, ${lasting(silence())} ago` : null],
      ['Method', run.method], ...(run.facts || []), ['Peak memory', run.memory],
      ['Pictures with', run.averaged ? `averaged weights (ema_decay ${run.averaged})` : null]];
    $('facts').replaceChildren(...facts.filter(([, value]) => value !== null && value !== undefined && value !== '')
      .map(([name, value]) => make('div', {}, make('dt', {}, name), make('dd', {}, String(value)))));
  }

  // -- the pictures ---------------------------------------------------------------------------------------------------

  /** The positions of the slider: steps, and the file name parts of their pictures. */
  function places(split) {
    const found = run.pictures[split].map(step => ({step, postfix: String(step).padStart(8, '0')}));
    const last = found.length ? found[found.length - 1].step : -1;
    if (split === 'train' && run.current !== null && run.current > last) {
      found.push({step: run.current, postfix: 'current'});
    }
    return found;
  }

  function splitShown() {
    const wanted = set.split || 'train';
    return places(wanted).length ? wanted : wanted === 'train' ? 'test' : 'train';
  }

  function buildChoice() {
    const radios = Object.keys(SPLITS).map(split => make('label', {},
      make('input', {type: 'radio', name: 'split', value: split,
                     onchange: () => { set.split = split; keep(); showPictures(); }}), ` ${SPLITS[split]}`));
    $('choice').replaceChildren(
      make('fieldset', {'aria-label': 'Which pictures'}, ...radios),
      make('div', {class: 'steps'},
        make('button', {type: 'button', id: 'play', 'aria-label': 'Play the iterations', onclick: play}, '▶'),
        make('button', {type: 'button', 'aria-label': 'Earlier', onclick: () => go(-1)}, '‹'),
        make('input', {type: 'range', id: 'slider', min: 0, step: 1, 'aria-label': 'Iteration',
                       oninput: event => goTo(+event.target.value)}),
        make('button', {type: 'button', 'aria-label': 'Later', onclick: () => go(1)}, '›'),
        make('output', {id: 'at', for: 'slider'})));
  }

  function indexShown(found) {
    if (set.at === null) return found.length - 1;
    let best = 0;
    const distance = i => Math.abs(found[i].step - set.at);
    found.forEach((_, i) => { if (distance(i) <= distance(best)) best = i; });
    return best;
  }

  function goTo(index) {
    const found = places(splitShown());
    if (index < 0 || index >= found.length) return;
    set.at = index === found.length - 1 ? null : found[index].step;
    keep();
    showPictures();
  }

  function go(by) {
    goTo(indexShown(places(splitShown())) + by);
  }

  function play() {
    const ended = index => index >= places(splitShown()).length - 1;
    if (playing) {
      clearInterval(playing);
      playing = null;
    } else {
      if (ended(indexShown(places(splitShown())))) goTo(0);
      playing = setInterval(() => { go(1); if (ended(indexShown(places(splitShown())))) play(); }, 700);
    }
    $('play').textContent = playing ? '❚❚' : '▶';
    $('play').setAttribute('aria-label', playing ? 'Stop playing' : 'Play the iterations');
  }

  const pathOf = ({way, folder}, split, postfix) =>
    `${folder}images/gen_${way}_${split}_${postfix}.jpg${postfix === 'current' ? `?${run.current}` : ''}`;

  /** The pictures to show at once: one per direction; in a comparison, one per direction and run. */
  const shots = () => run.ways.flatMap(way => run.runs
    ? run.runs.map((name, i) => ({way, key: `${way}-${i}`, title: `${name}: ${WAYS[way]}`, folder: run.folders[i],
                                  kinds: run.kinds[i]}))
    : [{way, key: way, title: WAYS[way], folder: '', kinds: run.kinds}]);

  function figureOf({key, kinds}) {
    const there = document.querySelector(`figure[data-way="${key}"]`);
    if (there) return there;
    const figure = make('figure', {'data-way': key}, make('figcaption'),
      make('div', {class: 'pan'}, make('ol', {}, ...kinds.map(kind => make('li', {}, kind))),
           make('a', {}, make('img'))));
    figure.style.setProperty('--rows', kinds.length || 4);
    figure.style.setProperty('--aspect', 1);
    ($('figures') || $('choice').parentElement).append(figure);
    return figure;
  }

  function showPictures() {
    const split = splitShown(), found = places(split), choice = $('choice');
    choice.hidden = !found.length;
    if (!found.length) return;
    if ($('none')) $('none').remove();
    if (!$('slider')) buildChoice();
    const index = indexShown(found), {step, postfix} = found[index];
    const when = `after ${whole(step)} iterations`;
    for (const radio of choice.querySelectorAll('[type=radio]')) {
      radio.checked = radio.value === split;
      radio.disabled = !places(radio.value).length;
    }
    Object.assign($('slider'), {max: found.length - 1, value: index});
    $('slider').setAttribute('aria-valuetext', when);
    $('at').textContent = index === found.length - 1 ? `${whole(step)}, latest` : whole(step);
    for (const shot of shots()) {
      const figure = figureOf(shot), image = figure.querySelector('img'), path = pathOf(shot, split, postfix);
      figure.querySelector('figcaption').textContent = `${shot.title}, ${SPLITS[split]}, ${when}`;
      if (image.getAttribute('src') === path) continue;
      image.onload = () => {
        figure.classList.remove('missing');
        figure.style.setProperty('--aspect', image.naturalWidth / image.naturalHeight);
        image.width = image.naturalWidth;
        image.height = image.naturalHeight;
      };
      image.onerror = () => {
        figure.classList.add('missing');
        figure.querySelector('figcaption').textContent += ': not in this folder';
      };
      image.alt = `${shot.title}, ${SPLITS[split]}, ${when}`
        + (shot.kinds.length ? `; from the top: ${shot.kinds.join(', ')}` : '');
      image.src = path;
      image.parentElement.href = path;
      for (const neighbour of [found[index - 1], found[index + 1]]) {   // load them before the slider moves
        if (neighbour) new Image().src = pathOf(shot, split, neighbour.postfix);
      }
    }
  }

  // -- the curves -----------------------------------------------------------------------------------------------------

  // In a comparison, curves are named TERM\nRUN, and each term has a chart with the curves of all runs.
  const termOf = name => name.split('\n')[0], runOf = name => name.split('\n')[1];
  const kindOf = name => GROUPS.findIndex(([, pattern]) => pattern.test(termOf(name)));
  const groupOf = name => run.runs ? termOf(name) : GROUPS[kindOf(name)][0];
  const labelOf = name => run.runs ? runOf(name) : name.replace(/^loss_/, '');
  const termsOf = group => Object.keys(run.curves.terms).filter(name => groupOf(name) === group);
  const groups = () => run.runs
    ? [...new Set(Object.keys(run.curves.terms).sort((a, b) => kindOf(a) - kindOf(b)).map(termOf))]
    : GROUPS.map(([group]) => group);
  const domainOf = name => (name.match(/_(a|b|aba|bab)$/) || [])[1];
  const stillZero = name => run.curves.terms[name].mean.every(value => !value);
  const isOn = name => set.on.has(name) || !set.off.has(name) && !stillZero(name);

  /** Colour and dash of each term: terms of A and B share a colour, and those of B are dashed. */
  function looksOf(names) {
    if (run.runs) {
      return new Map(names.map(name => [name, {colour: `var(--c${run.runs.indexOf(runOf(name)) % COLOURS})`, dash: ''}]));
    }
    const stems = [...new Set(names.map(name => name.replace(/_(a|b|aba|bab)$/, '')))];
    return new Map(names.map(name => {
      const place = stems.indexOf(name.replace(/_(a|b|aba|bab)$/, ''));
      return [name, {colour: `var(--c${place % COLOURS})`,
                     dash: DASHES[domainOf(name)] || (place >= COLOURS ? '1 3' : '')}];
    }));
  }

  /** Exponential moving average with bias correction. */
  function smoothed(values) {
    let sum = 0, weight = 0;
    return values.map(value => {
      if (value === null) return null;
      sum = set.smooth * sum + (1 - set.smooth) * value;
      weight = set.smooth * weight + 1 - set.smooth;
      return sum / weight;
    });
  }

  function ticks(low, high, count) {
    const raw = (high - low) / count, base = 10 ** Math.floor(Math.log10(raw));
    const size = [1, 2, 5, 10].map(factor => factor * base).find(one => one >= raw);
    const found = [];
    for (let i = Math.ceil(low / size - 1e-9); i * size <= high + size * 1e-9; i++) {
      found.push(i * size || 0);   // turns -0 into 0
    }
    return found;
  }

  function logTicks(low, high) {
    const found = [];
    const few = Math.log10(high / low) < 2;
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const factor of few ? [1, 2, 5] : [1]) found.push(factor * 10 ** power);
    }
    return found.filter(value => value >= low * 0.999 && value <= high * 1.001);
  }

  /** The lowest and the highest value to draw; a few outliers among many may be outside. */
  function boundsOf(drawn) {
    const seen = drawn.flatMap(({raw, line}) => [...raw, ...line])
      .filter(value => value !== null && (!set.log || value > 0)).sort((a, b) => a - b);
    if (!seen.length) return null;
    const at = share => seen[Math.round(share * (seen.length - 1))];
    let low = at(0.002), high = at(0.998);
    if (high - low < 1e-9 * Math.abs(high)) low = high;   // smoothing rounds constants, and ticks needs a range
    if (set.log) return low === high ? [low / 2, high * 2] : [low / 1.1, high * 1.1];
    if (low >= 0 && low < 0.4 * high) low = 0;
    if (low === high) return [low - Math.abs(low || 1) / 2, high + Math.abs(high || 1) / 2];
    return [low === 0 ? 0 : low - 0.05 * (high - low), high + 0.05 * (high - low)];
  }

  function pathThrough(xs, ys) {
    let text = '', pen = false;
    ys.forEach((y, i) => {
      if (y === null) { pen = false; return; }
      text += `${pen ? 'L' : 'M'}${xs[i].toFixed(1)} ${y.toFixed(1)}`;
      if (!pen && (ys[i + 1] ?? null) === null) text += 'h.1';   // an isolated point
      pen = true;
    });
    return text;
  }

  function bandThrough(xs, lows, highs) {
    const there = xs.map((_, i) => i).filter(i => lows[i] !== null && highs[i] !== null);
    if (there.length < 2) return '';
    const side = (indices, ys) => indices.map(i => `${xs[i].toFixed(1)} ${ys[i].toFixed(1)}`).join('L');
    return `M${side(there, highs)}L${side([...there].reverse(), lows)}Z`;
  }

  class Panel {
    constructor(group) {
      this.group = group;
      this.clip = `clip${panels.size}`;
      this.chart = make('svg', {
        class: 'chart', tabindex: 0, role: 'img', height: CHART.height,
        onpointermove: event => this.hover(event.clientX),
        onpointerdown: event => this.hover(event.clientX),
        onpointerleave: () => this.leave(), onblur: () => this.leave(), onkeydown: event => this.key(event)});
      this.tip = make('div', {class: 'tip', hidden: true, 'aria-live': 'polite'});
      this.legend = make('div', {class: 'legend', role: 'group', 'aria-label': `${group}: which terms to draw`});
      this.element = make('div', {class: 'panel'},
        make('h3', {}, run.runs ? group.replace(/^loss_/, '') : group), this.chart, this.tip, this.legend);
    }

    update() {
      const names = termsOf(this.group);
      if (String(names) !== String(this.names)) {   // replacing an equal legend would lose the keyboard focus
        this.names = names;
        this.looks = looksOf(names);
        this.legend.replaceChildren(...names.map(name => this.entry(name)));
      }
      for (const label of this.legend.children) {
        const name = label.dataset.name, means = run.curves.terms[name].mean;
        label.querySelector('input').checked = isOn(name);
        label.querySelector('output').textContent = stillZero(name) ? '0 throughout' : short(run.runs
          ? means.findLast(value => value !== null) : means[means.length - 1]);
      }
      this.draw();
    }

    entry(name) {
      const {colour, dash} = this.looks.get(name);
      const box = make('input', {type: 'checkbox', onchange: () => {
        set.on.delete(name);
        set.off.delete(name);
        if (!box.checked) set.off.add(name);
        else if (stillZero(name)) set.on.add(name);
        keep();
        this.draw();
      }});
      return make('label', {'data-name': name}, box, this.swatch(colour, dash),
                  make('span', {}, labelOf(name)), make('output'));
    }

    swatch(colour, dash) {
      return make('svg', {width: 20, height: 8, 'aria-hidden': 'true'},
        make('line', {x1: 0, x2: 20, y1: 4, y2: 4, 'stroke-width': 2.5, 'stroke-dasharray': dash,
                      style: {stroke: colour}}));
    }

    draw() {
      const {steps: at, terms} = run.curves, width = Math.max(120, this.chart.clientWidth);
      const {height, left, right, top, bottom} = CHART;
      const drawn = this.names.filter(isOn).map(name => {
        const raw = terms[name].mean;
        return {name, raw, line: set.smooth ? smoothed(raw) : raw, ...terms[name], ...this.looks.get(name)};
      });
      this.drawn = drawn;
      this.chart.setAttribute('viewBox', `0 0 ${width} ${height}`);
      const bounds = boundsOf(drawn), last = at[at.length - 1];
      this.chart.setAttribute('aria-label', `${this.group}, over ${whole(last)} iterations: ` + (drawn.map(
        ({name, line}) => `${run.runs ? runOf(name) : name} ${short(line[line.length - 1])}`).join(', ') || 'no term selected'));
      if (!bounds) {
        this.xs = null;
        const why = drawn.length ? 'no positive values to draw' : 'no term selected';
        this.chart.replaceChildren(make('text', {x: left, y: height / 2}, why));
        return;
      }
      const [low, high] = bounds, scale = set.log ? Math.log10 : value => value;
      const x = step => left + (width - left - right) * step / last;
      const y = value => value === null || set.log && value <= 0 ? null
        : top + (height - top - bottom) * (1 - (scale(value) - scale(low)) / (scale(high) - scale(low)));
      this.xs = at.map(x);
      const id = this.clip;
      const marks = [], curves = make('g', {'clip-path': `url(#${id})`});
      for (const value of set.log ? logTicks(low, high) : ticks(low, high, 5)) {
        marks.push(make('line', {class: 'grid', x1: left, x2: width - right, y1: y(value), y2: y(value)}),
                   make('text', {x: left - 6, y: y(value) + 4, 'text-anchor': 'end'}, short(+value.toPrecision(6))));
      }
      for (const step of ticks(0, last, Math.max(2, Math.floor(width / 110)))) {
        const anchor = step > 0.95 * last ? 'end' : 'middle';
        marks.push(make('text', {x: x(step), y: height - 6, 'text-anchor': anchor}, steps(step)));
      }
      for (const [step, line] of run.events || []) {
        marks.push(make('line', {class: 'event', x1: x(step), x2: x(step), y1: top, y2: height - bottom},
          make('title', {}, line)));
      }
      for (const {raw, line, low: lows, high: highs, colour, dash} of drawn) {
        const path = (kind, d, style, more) => curves.append(make('path', {class: kind, d, style, ...more}));
        if (lows && drawn.length <= MOST_BANDS) {
          path('band', bandThrough(this.xs, lows.map(y), highs.map(y)), {fill: colour});
        }
        if (set.smooth) path('raw', pathThrough(this.xs, raw.map(y)), {stroke: colour});
        path('curve', pathThrough(this.xs, line.map(y)), {stroke: colour}, {'stroke-dasharray': dash});
      }
      this.hair = make('line', {class: 'hair', y1: top, y2: height - bottom, visibility: 'hidden'});
      const inside = {x: left, y: top, width: width - left - right, height: height - top - bottom};
      const clip = make('defs', {}, make('clipPath', {id}, make('rect', inside)));
      this.chart.replaceChildren(clip, ...marks, curves, this.hair);
      this.point(hovered && hovered.panel === this);
    }

    hover(clientX) {
      if (!this.xs) return;
      const x = clientX - this.chart.getBoundingClientRect().left;
      let best = 0;
      this.xs.forEach((one, i) => { if (Math.abs(one - x) < Math.abs(this.xs[best] - x)) best = i; });
      point(this, best);
    }

    leave() {
      if (hovered && hovered.panel === this) point(null, 0);
    }

    key(event) {
      if (!this.xs) return;
      const now = hovered ? hovered.index : this.xs.length - 1, last = this.xs.length - 1;
      const to = {ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last}[event.key];
      if (event.key === 'Escape') this.leave();
      if (to === undefined) return;
      event.preventDefault();
      point(this, Math.min(last, Math.max(0, to)));
    }

    /** Mark the hovered step, whichever panel it is hovered in; show its values if it is this panel (`here`). */
    point(here) {
      this.tip.hidden = !here || !this.xs;
      if (!this.xs || !this.hair) return;
      this.hair.setAttribute('visibility', hovered ? 'visible' : 'hidden');
      if (!hovered) return;
      const i = Math.min(hovered.index, this.xs.length - 1), x = this.xs[i], every = run.curves.every;
      this.hair.setAttribute('x1', x);
      this.hair.setAttribute('x2', x);
      if (!here) return;
      const rows = [...this.drawn].sort((a, b) => (b.raw[i] ?? -Infinity) - (a.raw[i] ?? -Infinity)).map(
        ({name, raw, colour, dash}) => make('tr', {}, make('td', {}, this.swatch(colour, dash)),
          make('td', {}, labelOf(name)), make('td', {}, raw[i] === null ? '–' : short(raw[i]))));
      const when = `iteration ${whole(run.curves.steps[i])}` + (every > 1 ? `, mean of ${every} values` : '');
      this.tip.replaceChildren(make('div', {}, when), make('table', {}, ...rows));
      const space = this.element.clientWidth;
      const offset = this.chart.getBoundingClientRect().left - this.element.getBoundingClientRect().left;
      const wanted = x > space / 2 ? offset + x - this.tip.offsetWidth - 14 : offset + x + 14;
      this.tip.style.left = `${Math.max(4, Math.min(wanted, space - this.tip.offsetWidth - 4))}px`;
    }
  }

  const panels = new Map();

  function point(panel, index) {
    hovered = panel ? {panel, index} : null;
    for (const one of panels.values()) one.point(panel === one);
  }

  function showCurves() {
    const there = groups().filter(group => run.curves.steps.length && termsOf(group).length);
    if (!there.length) {
      $('curves').replaceChildren(make('p', {}, 'Nothing is logged yet, or the log was not found.'));
      panels.clear();
      return;
    }
    if (!$('panels')) {
      $('curves').replaceChildren(
        make('div', {class: 'settings'},
          make('label', {}, 'smoothing', make('input', {
            type: 'range', id: 'smooth', min: 0, max: 0.99, step: 0.01, value: set.smooth,
            oninput: event => { set.smooth = +event.target.value; keep(); drawAll(); }})),
          make('label', {}, make('input', {type: 'checkbox', id: 'log',
            onchange: event => { set.log = event.target.checked; keep(); drawAll(); }}), 'logarithmic scale')),
        make('p', {id: 'thinned'}), make('ul', {id: 'events'}), make('div', {id: 'panels'}));
      $('log').checked = set.log;
      new ResizeObserver(() => requestAnimationFrame(drawAll)).observe($('panels'));
    }
    $('thinned').textContent = run.curves.every > 1
      ? `Each point is the mean of ${run.curves.every} logged values. With at most ${MOST_BANDS} terms selected, pale `
        + 'bands show the range of these values.' : '';
    $('thinned').hidden = run.curves.every === 1;
    $('events').replaceChildren(...(run.events || []).map(([, line]) => make('li', {}, line)));
    for (const group of there) {
      if (!panels.has(group)) panels.set(group, new Panel(group));
      if (!panels.get(group).element.isConnected) {
        const later = there.slice(there.indexOf(group) + 1).map(one => panels.get(one));
        const after = later.find(one => one && one.element.isConnected);
        $('panels').insertBefore(panels.get(group).element, after ? after.element : null);
      }
      panels.get(group).update();
    }
  }

  function drawAll() {
    for (const panel of panels.values()) panel.draw();
  }

  // -- settings and versions ------------------------------------------------------------------------------------------

  function fold(id, title, ...content) {
    const there = $(id);
    const details = there || make('details', {id, ontoggle: () => {
      details.open ? set.open.add(id) : set.open.delete(id);
      keep();
    }}, make('summary'));
    details.querySelector('summary').textContent = title;
    while (details.children.length > 1) details.lastChild.remove();
    details.append(...content);
    if (!there) {
      details.open = set.open.has(id);
      $('details').append(details);
    }
  }

  function table(heads, rows) {
    return make('table', {}, make('thead', {}, make('tr', {}, ...heads.map(head => make('th', {scope: 'col'}, head)))),
                make('tbody', {}, ...rows));
  }

  function showDetails() {
    const same = JSON.stringify([run.config, run.versions, run.command]);
    if (same === shownAt) return;
    shownAt = same;
    const text = value => typeof value === 'string' ? value : JSON.stringify(value);
    if (run.runs) {
      fold('config', `Config: ${run.config.length} keys differ`, table(['key', ...run.runs], run.config.map(
        ([key, ...values]) => make('tr', {}, make('td', {}, key),
          ...values.map(value => make('td', {}, value === null ? '–' : text(value)))))));
      return;
    }
    if ((run.config || []).length) {
      const differs = ([, value, standard, given]) => given || standard !== null && standard !== value;
      const noted = ([, value, standard, given]) => [
        given ? 'from the command line' : '',
        standard !== null && standard !== value ? `default: ${text(standard)}` : ''].filter(Boolean).join('; ');
      const rows = run.config.map(row => make('tr', {class: differs(row) ? 'differs' : 'same'},
        make('td', {}, row[0]), make('td', {}, text(row[1])), make('td', {}, noted(row))));
      const choose = () => rows.forEach(row => { row.hidden = set.differing && row.className === 'same'; });
      const box = make('input', {
        type: 'checkbox', onchange: () => { set.differing = box.checked; keep(); choose(); }});
      box.checked = set.differing;
      choose();
      const count = run.config.filter(row => row[3]).length;
      const known = run.config.some(([, , standard, given]) => given || standard !== null);   // false for earlier runs
      fold('config', `Config: ${run.config.length} keys`
           + (known ? `, ${run.config.filter(differs).length} of them differ from their default` : '')
           + (count ? `, ${count} from the command line` : ''),
           make('p', {}, known ? make('label', {}, box, ' only keys that differ from their default, ') : null,
                make('a', {href: 'config.yaml'}, 'config.yaml')),
           table(['key', 'value', ''], rows));
    }
    if (run.command) fold('command', 'Command', make('code', {}, run.command));
    if ((run.versions || []).length) {
      fold('versions', 'Versions', table(['', ''], run.versions.map(
        ([name, value]) => make('tr', {}, make('td', {}, name), make('td', {}, value)))));
    }
  }

  // -- reloading ------------------------------------------------------------------------------------------------------

  let next = null;

  function loadAgain() {
    clearTimeout(next);
    const script = make('script', {src: `run.js?${Date.now()}`});
    script.onload = script.onerror = () => { script.remove(); wait(); };
    document.body.append(script);
  }

  function wait() {
    clearTimeout(next);
    if (run && run.state === 'running' && !document.hidden) {
      next = setTimeout(loadAgain, 1000 * Math.min(60, Math.max(5, expected() / 2)));
    }
  }

  window.showRun = data => {
    const fresh = !run || data.written !== run.written || data.state !== run.state;
    run = data;
    showHead();
    if (!fresh) return;
    showPictures();
    showCurves();
    showDetails();
  };

  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && run && run.state === 'running') loadAgain();
  });
  window.addEventListener('load', () => {
    if (!run) {
      $('curves').replaceChildren(make('p', {},
        'run.js, which contains the data of this page, is not in its folder. Copy the whole folder.'));
      return;
    }
    wait();
    if (run.state === 'running') setInterval(showHead, 5000);
  });
})();
