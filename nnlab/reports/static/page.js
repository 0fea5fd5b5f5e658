"use strict";
// What the page does beyond showing text: curves, layers, tables, parallel coordinates, and following a run.
// Whatever comes from a run is put in as text, never as markup.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  let data = JSON.parse(document.getElementById("data").textContent);

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  };
  const variable = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const formatted = (value) => {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(2).replace(/\.?0+e/, "e");
    return String(Number(value.toPrecision(5)));
  };
  const stepWords = (step) => (step ?? 0).toLocaleString("en");

  // --- colours and dashes --------------------------------------------------------------------------------

  const DASHES = [[7, 4], [], [2, 3]]; // training, validation, test
  const SPLIT_LINES = [1, 0, 2]; // their colours, as in the figures
  const PALETTE = 8;
  const mixed = (from, to, share) => {
    const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    const [first, second] = [channels(from), channels(to)];
    return `rgb(${first.map((value, i) => Math.round(value + share * (second[i] - value))).join(",")})`;
  };
  const colourOf = (number, count) => {
    if (count <= PALETTE) return variable(`--line-${number}`);
    const place = (number / (count - 1)) * (PALETTE - 1);
    const below = Math.min(Math.floor(place), PALETTE - 2);
    return mixed(variable(`--q${below}`), variable(`--q${below + 1}`), place - below);
  };

  const swatch = (colour, dash) => {
    const SVG = "http://www.w3.org/2000/svg";
    const picture = document.createElementNS(SVG, "svg");
    const line = document.createElementNS(SVG, "line");
    const look = { x1: 0, x2: 22, y1: 6, y2: 6, stroke: colour, "stroke-width": 2.5 };
    if (dash.length) look["stroke-dasharray"] = dash.join(" ");
    for (const [name, value] of Object.entries({ width: 22, height: 12, "aria-hidden": "true" }))
      picture.setAttribute(name, value);
    for (const [name, value] of Object.entries(look)) line.setAttribute(name, value);
    picture.append(line);
    return picture;
  };

  const axes = (label, isLog) => {
    const look = {
      stroke: variable("--muted"),
      font: "12px system-ui, sans-serif",
      labelFont: "12px system-ui, sans-serif",
      grid: { stroke: variable("--rule"), width: 1 },
      ticks: { stroke: variable("--rule"), width: 1, size: 4 },
    };
    const wide = (plot, words) => 18 + 7 * Math.max(3, ...(words ?? []).map((word) => (word ?? "").length));
    const words = (plot, splits) => splits.map((value) => (value === null ? "" : formatted(value)));
    return [
      { ...look, label, labelSize: 22, size: 30, values: words, space: 56 },
      { ...look, values: words, size: wide, space: isLog ? 24 : 36 },
    ];
  };

  // --- curves --------------------------------------------------------------------------------------------

  class Charts {
    constructor(host, key, curves) {
      Object.assign(this, { host, key, curves, zoom: null, isLogStep: curves.is_log_step, plots: [] });
      this.hidden = { runs: new Set(), splits: new Set() };
      this.logs = curves.charts.map((chart) => chart.is_log);
      this.build();
    }

    build() {
      this.plots.forEach((plot) => plot.destroy());
      this.grid = make("div", { class: "grid" });
      this.host.replaceChildren(this.tools(), this.legend(), this.grid);
      this.plots = this.curves.charts.map((chart, number) => this.chart(chart, number));
    }

    /** New numbers: drawn in place where they are of the same curves, else all is built anew. */
    update(curves) {
      const shape = (of) => JSON.stringify([of.runs, of.charts.map((chart) => [chart.title, chart.bundles.map(
        (bundle) => [bundle.run, bundle.lines.map((line) => line.name)])])]);
      const isSame = shape(curves) === shape(this.curves);
      this.curves = curves;
      if (!isSame) {
        this.logs = curves.charts.map((chart) => chart.is_log);
        return this.build();
      }
      curves.charts.forEach((chart, number) => {
        const plot = this.plots[number];
        plot.setData(this.columns(chart, number), this.zoom === null);
        if (this.zoom !== null) plot.redraw();
        this.read(plot, chart);
      });
    }

    tools() {
      const log = make("button", { type: "button", "aria-pressed": this.isLogStep, onclick: () => {
        this.isLogStep = !this.isLogStep;
        this.zoom = null;
        this.build();
        this.host.querySelector(".log-step").focus();
      }, class: "log-step" }, "log steps");
      return make("div", { class: "tools", role: "toolbar", "aria-label": "Zoom and scale" },
        make("button", { type: "button", onclick: () => this.zoomBy(0.5) }, "Zoom in"),
        make("button", { type: "button", onclick: () => this.zoomBy(2) }, "Zoom out"),
        make("button", { type: "button", onclick: () => this.zoomTo(null) }, "Whole training"),
        log,
        make("span", { class: "note" }, "Drag to zoom, point to read off; in a chart, arrow keys, + − 0 do the same."));
    }

    /** A button for each run and each split, which shows or hides its curves. */
    legend() {
      const { runs, charts } = this.curves;
      const lines = charts.flatMap((chart) => chart.bundles.flatMap((bundle) => bundle.lines));
      const splits = new Map(lines.filter((line) => line.split !== null).map((line) => [line.split, line.name]));
      const entry = (set, number, name, picture) => make("button", {
        type: "button", "aria-pressed": !set.has(number), onclick: (event) => {
          if (!set.delete(number)) set.add(number);
          event.currentTarget.setAttribute("aria-pressed", !set.has(number));
          this.showHidden();
        } }, picture, name);
      const ofRuns = runs.length > 1 ? runs.map((name, number) =>
        entry(this.hidden.runs, number, name, swatch(colourOf(number, runs.length), []))) : [];
      const ofSplits = [...splits].sort().map(([number, name]) => entry(this.hidden.splits, number, name,
        swatch(runs.length > 1 ? variable("--muted") : colourOf(SPLIT_LINES[number], 1), DASHES[number])));
      return make("div", { class: "legend", role: "group", "aria-label": "Curves that are shown" }, ...ofRuns, ...ofSplits);
    }

    series(chart) {
      const count = this.curves.runs.length;
      return chart.bundles.flatMap((bundle) => bundle.lines.map((line) => ({
        label: count > 1 ? `${this.curves.runs[bundle.run]}, ${line.name}` : line.name,
        run: bundle.run,
        split: line.split,
        stroke: count > 1 ? colourOf(bundle.run, count) : colourOf(SPLIT_LINES[line.split ?? 1], 1),
        dash: DASHES[line.split ?? 1],
        width: count > PALETTE ? 1.1 : 1.7,
        show: this.isShown(bundle.run, line.split),
      })));
    }

    isShown(run, split) {
      return !this.hidden.runs.has(run) && !this.hidden.splits.has(split);
    }

    showHidden() {
      for (const plot of this.plots) {
        plot.batch(() => plot.series.forEach((series, number) => {
          if (number) plot.setSeries(number, { show: this.isShown(series.run, series.split) });
        }));
        this.read(plot, plot.chart);
      }
    }

    columns(chart, number) {
      const drawn = (value) => (this.logs[number] && value !== null && value <= 0 ? null : value);
      const tables = chart.bundles.map((bundle) =>
        [bundle.steps, ...bundle.lines.map((line) => line.values.map(drawn))]);
      return tables.length > 1 ? uPlot.join(tables) : tables[0];
    }

    chart(chart, number) {
      const values = chart.bundles.flatMap((bundle) => bundle.lines.flatMap((line) => line.values));
      const canBeLog = values.some((value) => value > 0);
      const log = make("button", { type: "button", "aria-pressed": this.logs[number], onclick: () => {
        this.logs[number] = !this.logs[number];
        this.build();
        this.grid.children[number].querySelector("button").focus();
      } }, "log");
      log.setAttribute("aria-label", `log scale of ${chart.title}`);
      const holder = make("div", { class: "plot", tabindex: 0, role: "application",
        "aria-label": `${chart.title} over training. Arrow keys move along it, plus and minus zoom, 0 shows all.` });
      const readout = make("output", { class: "readout", "aria-live": "polite" });
      this.grid.append(make("div", { class: "chart" },
        make("h4", {}, make("span", {}, chart.title), ...(canBeLog ? [log] : [])), holder, readout));
      const plot = new uPlot({
        width: Math.max(200, holder.clientWidth),
        height: 250,
        legend: { show: false },
        scales: {
          x: { time: false, distr: this.isLogStep ? 4 : 1, asinh: 1, range: (plot, min, max) => [min, max] },
          y: { distr: this.logs[number] ? 3 : 1 },
        },
        axes: axes("training step", this.logs[number]),
        series: [{}, ...this.series(chart)],
        cursor: {
          drag: { x: true, y: false },
          points: { size: 7 },
          sync: { key: this.key, setSeries: false, filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } },
        },
        hooks: {
          setCursor: [(plot) => this.read(plot, chart)],
          setScale: [(plot, scale) => {
            if (scale === "x" && plot.isReady && !this.isZooming) this.zoomedBy(plot);
          }],
        },
      }, this.columns(chart, number), holder);
      Object.assign(plot, { chart, readout, isReady: true });
      holder.nnlab = plot;
      holder.addEventListener("keydown", (event) => this.key_(event, plot));
      resized.observe(holder);
      if (this.zoom !== null) plot.setScale("x", { min: this.zoom[0], max: this.zoom[1] });
      this.read(plot, chart);
      return plot;
    }

    /** The numbers under the pointer, or the last ones. */
    read(plot, chart) {
      const readout = plot.readout;
      if (!readout) return;
      const steps = plot.data[0];
      const at = plot.cursor.idx ?? steps.length - 1;
      const shown = plot.series.map((series, number) => ({ series, number })).slice(1)
        .filter(({ series }) => series.show)
        .map(({ series, number }) => {
          let place = at;
          while (place > 0 && (plot.data[number][place] ?? null) === null) place -= 1;
          return { series, value: plot.data[number][place] ?? null };
        });
      const height = plot.cursor.top >= 0 ? plot.posToVal(plot.cursor.top, "y") : null;
      const most = 6;
      const near = shown.length > most && height !== null
        ? [...shown].sort((a, b) => Math.abs((a.value ?? Infinity) - height) - Math.abs((b.value ?? Infinity) - height))
        : shown;
      const words = near.slice(0, most).flatMap(({ series, value }) =>
        [`  ${series.label} `, make("b", {}, formatted(value))]);
      if (shown.length > most) words.push(`  and ${shown.length - most} more`);
      readout.replaceChildren(make("b", {}, `step ${stepWords(steps[at])}`), ...words);
    }

    key_(event, plot) {
      const steps = plot.data[0];
      const last = steps.length - 1;
      const at = plot.cursor.idx ?? (event.key === "ArrowRight" ? -1 : last + 1);
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
      if (to !== undefined) {
        const step = steps[Math.min(last, Math.max(0, to))];
        for (const other of this.plots) other.setCursor({ left: other.valToPos(step, "x"), top: -10 });
      } else if (event.key === "+" || event.key === "=") this.zoomBy(0.5);
      else if (event.key === "-") this.zoomBy(2);
      else if (event.key === "0" || event.key === "Escape") this.zoomTo(null);
      else return;
      event.preventDefault();
    }

    whole() {
      const steps = this.plots.flatMap((plot) => [plot.data[0][0], plot.data[0][plot.data[0].length - 1]]);
      return [Math.min(...steps), Math.max(...steps)];
    }

    /** Show a part of what is shown, around the pointer or the middle; by 2, twice as much. */
    zoomBy(factor) {
      const [forth, back] = this.isLogStep ? [Math.asinh, Math.sinh] : [Number, Number];
      const [low, high] = (this.zoom ?? this.whole()).map(forth);
      const [first, last] = this.whole().map(forth);
      const pointed = this.plots.find((plot) => plot.cursor.idx !== null);
      const middle = pointed ? forth(pointed.data[0][pointed.cursor.idx]) : (low + high) / 2;
      const min = Math.max(first, middle - (middle - low) * factor);
      const max = Math.min(last, middle + (high - middle) * factor);
      this.zoomTo(min <= first && max >= last ? null : [back(min), back(max)]);
    }

    zoomTo(range) {
      this.zoom = range;
      const [min, max] = range ?? this.whole();
      this.isZooming = true;
      for (const plot of this.plots) plot.batch(() => plot.setScale("x", { min, max }));
      queueMicrotask(() => { this.isZooming = false; });
    }

    /** A chart was zoomed by dragging, or back by a double click: the others follow. */
    zoomedBy(plot) {
      const { min, max } = plot.scales.x;
      const [first, last] = this.whole();
      const range = min <= first && max >= last ? null : [min, max];
      if (JSON.stringify(range) !== JSON.stringify(this.zoom)) this.zoomTo(range);
    }
  }

  const resized = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const plot = target.nnlab;
      if (plot && contentRect.width > 0 && Math.abs(plot.width - contentRect.width) > 1)
        plot.setSize({ width: contentRect.width, height: plot.height });
    }
  });

  // --- layers --------------------------------------------------------------------------------------------

  class LayerView {
    constructor(host, layers) {
      Object.assign(this, { host, layers, quantity: 0, timer: null });
      this.position = this.steps().length - 1;
      this.build();
    }

    steps() {
      return [...new Set(this.layers.runs.flatMap((run) => run.steps))].sort((a, b) => a - b);
    }

    update(layers) {
      const wasLast = this.position === this.steps().length - 1;
      const isSame = JSON.stringify([layers.quantities, layers.runs.map((run) => [run.label, run.layers])]) ===
        JSON.stringify([this.layers.quantities, this.layers.runs.map((run) => [run.label, run.layers])]);
      this.layers = layers;
      this.position = wasLast ? this.steps().length - 1 : Math.min(this.position, this.steps().length - 1);
      if (!isSame) return this.build();
      this.slider.max = this.steps().length - 1;
      this.draw();
    }

    build() {
      if (this.plot) this.plot.destroy();
      const { titles } = this.layers;
      const select = make("select", { id: "quantity", onchange: (event) => {
        this.quantity = Number(event.target.value);
        this.build();
        this.host.querySelector("select").focus();
      } }, ...titles.map((title, number) => make("option", { value: number }, title)));
      select.value = this.quantity;
      this.slider = make("input", { type: "range", id: "record", min: 0, max: this.steps().length - 1, step: 1,
        oninput: (event) => this.move(Number(event.target.value)) });
      this.slider.value = this.position;
      this.said = make("output", { for: "record" });
      this.play = make("button", { type: "button", "aria-pressed": false, onclick: () => this.toggle() }, "Play");
      this.holder = make("div", { class: "plot" });
      this.readout = make("output", { class: "readout", "aria-live": "off" });
      const { runs } = this.layers;
      const legend = make("div", { class: "legend" }, ...(runs.length > 1 ? runs.map((run, number) =>
        make("span", {}, swatch(colourOf(number, runs.length), []), ` ${run.label}  `)) : []),
        make("span", { class: "note" }, "Solid: the chosen record. Dotted: the first one."));
      this.host.replaceChildren(
        make("div", { class: "tools" }, make("label", { for: "quantity" }, "Show"), select),
        make("div", { class: "tools" }, this.play, make("label", { for: "record" }, "Record"), this.slider, this.said),
        legend, this.holder, this.readout);
      this.plot = this.chart();
      this.draw();
    }

    chart() {
      const { runs, quantities, is_log: isLog, titles } = this.layers;
      const name = quantities[this.quantity];
      const all = runs.flatMap((run) => run.values[name].flat()).filter((value) => value !== null);
      const log = isLog[this.quantity];
      const [low, high] = [Math.min(...all), Math.max(...all)];
      const room = (high - low || Math.abs(high) || 1) * 0.06;
      const range = log ? [low / 1.3, high * 1.3] : [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
      const most = Math.max(...runs.map((run) => run.layers.length));
      const named = most <= 8 && runs.every((run) => run.layers.join() === runs[0].layers.join());
      const word = (place) => (Number.isInteger(place) ? (named ? runs[0].layers[place - 1] ?? "" : String(place)) : "");
      const [x, y] = axes(named ? "layer" : "layer, from the input on", log);
      const series = runs.flatMap((run, number) => [
        { label: run.label, stroke: colourOf(number, runs.length), width: 2, points: { show: true, size: 7 } },
        { label: `${run.label}, first`, stroke: colourOf(number, runs.length), width: 1, dash: [2, 3], points: { show: false } },
      ]);
      const plot = new uPlot({
        width: Math.max(200, this.holder.clientWidth),
        height: 300,
        legend: { show: false },
        scales: { x: { time: false, range: [0.7, most + 0.3] }, y: { distr: log ? 3 : 1, range } },
        axes: [
          { ...x, values: (plot, splits) => splits.map(word), splits: (plot, axis, min, max, increment) => {
            const by = Math.max(1, Math.round(increment));
            return Array.from({ length: Math.ceil(most / by) }, (_, number) => 1 + number * by);
          } },
          { ...y, label: titles[this.quantity], labelSize: 22 },
        ],
        series: [{}, ...series],
        cursor: { drag: { x: false, y: false }, points: { size: 9 } },
        hooks: { setCursor: [(plot) => this.read(plot)] },
      }, this.columns(), this.holder);
      resized.observe(this.holder);
      this.holder.nnlab = plot;
      return plot;
    }

    /** The record of a run at the chosen step, or the last one before it. */
    record(run) {
      const step = this.steps()[this.position];
      return run.steps.reduce((found, other, number) => (other <= step ? number : found), 0);
    }

    columns() {
      const { runs, quantities, is_log: isLog } = this.layers;
      const name = quantities[this.quantity];
      const drawn = (value) => (isLog[this.quantity] && value !== null && value <= 0 ? null : value);
      const tables = runs.map((run) => [run.layers.map((_, number) => number + 1),
        run.values[name][this.record(run)].map(drawn), run.values[name][0].map(drawn)]);
      return tables.length > 1 ? uPlot.join(tables) : tables[0];
    }

    draw() {
      this.plot.setData(this.columns());
      this.slider.value = this.position;
      const step = stepWords(this.steps()[this.position]);
      this.said.textContent = `step ${step}`;
      this.slider.setAttribute("aria-valuetext", `step ${step}`);
      this.read(this.plot);
    }

    read(plot) {
      const { runs, quantities } = this.layers;
      const at = plot.cursor.idx;
      const name = quantities[this.quantity];
      if (at === null || at === undefined) return this.readout.replaceChildren("Point at a layer to read it off.");
      const words = runs.filter((run) => at < run.layers.length).flatMap((run) => [
        `${runs.length > 1 ? `${run.label}, ` : ""}${run.layers[at]} `,
        make("b", {}, formatted(run.values[name][this.record(run)][at])), "   "]);
      return this.readout.replaceChildren(...words);
    }

    move(position) {
      this.position = position;
      this.draw();
    }

    toggle() {
      const stop = () => {
        clearInterval(this.timer);
        this.timer = null;
        this.play.setAttribute("aria-pressed", "false");
        this.play.textContent = "Play";
      };
      if (this.timer !== null) return stop();
      if (this.position === this.steps().length - 1) this.move(0);
      this.play.setAttribute("aria-pressed", "true");
      this.play.textContent = "Pause";
      this.timer = setInterval(() => {
        if (this.position >= this.steps().length - 1) return stop();
        return this.move(this.position + 1);
      }, 150);
      return undefined;
    }
  }

  // --- tables of trials, and parallel coordinates ----------------------------------------------------------

  const choices = new Map(); // sweep -> what its reader chose: filter, sorting, ranges; it outlives new rows

  const choiceOf = (sweep) => {
    if (!choices.has(sweep)) choices.set(sweep, { filter: "", sorted: null, ranges: new Map() });
    return choices.get(sweep);
  };
  const letters = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
  const COMPARED = {
    "<": (a, b) => a < b, "<=": (a, b) => a <= b, "=": (a, b) => a === b, ">=": (a, b) => a >= b, ">": (a, b) => a > b,
  };

  /** The tests that a filter's words stand for. */
  const testsOf = (text, heads) => text.trim().split(/\s+/).filter(Boolean).map((term) => {
    const parts = /^([^<>=]+)(<=|>=|<|>|=)(.+)$/.exec(term);
    if (!parts) return (row) => row.textContent.toLowerCase().includes(term.toLowerCase());
    const [, name, sign, value] = parts;
    const column = heads.findIndex((head) => letters(head.dataset.key).endsWith(letters(name))
      || letters(head.textContent).startsWith(letters(name)));
    return (row) => {
      const cell = row.cells[column];
      if (!cell) return false;
      const number = numberOf(cell);
      if (number !== undefined && !Number.isNaN(Number(value))) return COMPARED[sign](number, Number(value));
      return sign === "=" && cell.textContent.toLowerCase() === value.toLowerCase();
    };
  });

  /** The number of a cell, with more digits than it shows where it has them; undefined where it is none. */
  const numberOf = (cell) => {
    const text = cell.dataset.n ?? (cell.classList.contains("n") ? cell.textContent : "");
    return text === "" ? undefined : Number(text);
  };

  class Trials {
    constructor(table) {
      const { sweep } = table.dataset;
      Object.assign(this, { table, sweep, choice: choiceOf(sweep) });
      const beside = (selector) => document.querySelector(`${selector}[data-sweep="${CSS.escape(sweep)}"]`);
      this.input = beside("input");
      this.count = beside("output");
      this.picture = beside("svg.parallel");
      this.heads = [...table.tHead.rows[0].cells];
      this.rows = [...table.tBodies[0].rows];
      this.titles = this.heads.map((head) => head.textContent);
      this.heads.forEach((head, column) => {
        const title = head.textContent;
        head.replaceChildren(make("button", { type: "button", onclick: () => this.sortBy(column) }, title));
      });
      this.input.value = this.choice.filter;
      this.input.addEventListener("input", () => {
        this.choice.filter = this.input.value;
        this.show();
      });
      if (this.picture) this.connect();
      if (this.choice.sorted) this.sort();
      this.show();
    }

    sortBy(column) {
      const { sorted } = this.choice;
      const isAgain = sorted && sorted.column === column && sorted.sign === 1;
      this.choice.sorted = { column, sign: isAgain ? -1 : 1 };
      this.sort();
    }

    sort() {
      const { column, sign } = this.choice.sorted;
      this.heads.forEach((head, number) => {
        if (number === column) head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
        else head.removeAttribute("aria-sort");
      });
      const key = (row) => numberOf(row.cells[column]) ?? row.cells[column].textContent;
      const compared = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (typeof x === "number" && typeof y === "number") return sign * (x - y);
        if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1; // what has no number comes last
        return sign * x.localeCompare(y, "en", { numeric: true });
      };
      this.table.tBodies[0].append(...[...this.rows].sort(compared));
    }

    show() {
      const tests = testsOf(this.choice.filter, this.heads.map((head, number) => ({
        dataset: head.dataset, textContent: this.titles[number] })));
      const outside = this.outside();
      const shown = new Set();
      let count = 0;
      for (const row of this.rows) {
        const isShown = tests.every((test) => test(row)) && !outside.has(row.dataset.point);
        row.classList.toggle("off", !isShown);
        if (isShown) {
          shown.add(row.dataset.point);
          count += 1;
        }
      }
      this.count.textContent = `${count} of ${this.rows.length} trials`;
      for (const line of this.lines ?? []) line.classList.toggle("off", !shown.has(line.dataset.point));
    }

    /** The points outside of the ranges that were chosen on the axes. */
    outside() {
      const found = new Set();
      for (const line of this.lines ?? []) {
        const heights = this.heights.get(line);
        for (const [axis, [low, high]] of this.choice.ranges)
          if (heights[axis] < low || heights[axis] > high) found.add(line.dataset.point);
      }
      return found;
    }

    connect() {
      this.lines = [...this.picture.querySelectorAll("polyline")];
      this.heights = new Map(this.lines.map((line) => [line,
        line.getAttribute("points").trim().split(/\s+/).map((pair) => (280 - Number(pair.split(",")[1])) / 240)]));
      const lit = (point, isLit) => {
        for (const line of this.lines) if (line.dataset.point === point) line.classList.toggle("lit", isLit);
        for (const row of this.rows) if (row.dataset.point === point) row.classList.toggle("lit", isLit);
      };
      for (const element of [...this.lines, ...this.rows]) {
        element.addEventListener("pointerenter", () => lit(element.dataset.point, true));
        element.addEventListener("pointerleave", () => lit(element.dataset.point, false));
      }
      for (const axis of this.picture.querySelectorAll("g.axis")) this.brush(axis);
    }

    /** Dragging along an axis chooses a range of it. */
    brush(group) {
      const axis = Number(group.dataset.axis);
      const rect = group.querySelector("rect");
      const place = (event) => {
        const box = rect.getBoundingClientRect();
        return 1 - Math.min(1, Math.max(0, (event.clientY - box.top) / box.height));
      };
      const mark = () => {
        group.querySelector("rect.chosen")?.remove();
        const range = this.choice.ranges.get(axis);
        if (!range) return;
        const chosen = rect.cloneNode();
        chosen.setAttribute("class", "chosen");
        chosen.setAttribute("y", 280 - 240 * range[1]);
        chosen.setAttribute("height", Math.max(1, 240 * (range[1] - range[0])));
        group.append(chosen);
      };
      let start = null;
      rect.addEventListener("pointerdown", (event) => {
        start = place(event);
        rect.setPointerCapture(event.pointerId);
      });
      rect.addEventListener("pointermove", (event) => {
        if (start === null) return;
        const end = place(event);
        this.choice.ranges.set(axis, [Math.min(start, end) - 0.005, Math.max(start, end) + 0.005]);
        mark();
        this.show();
      });
      rect.addEventListener("pointerup", (event) => {
        if (start !== null && Math.abs(place(event) - start) < 0.02) this.choice.ranges.delete(axis);
        start = null;
        mark();
        this.show();
      });
      mark();
    }
  }

  // --- all of it -------------------------------------------------------------------------------------------

  const groups = new Map();
  let layerView = null;

  const drawCharts = () => {
    for (const host of document.querySelectorAll(".charts")) {
      const curves = data.groups[host.dataset.group];
      const charts = groups.get(host);
      if (!curves) continue;
      if (charts) charts.update(curves);
      else groups.set(host, new Charts(host, host.dataset.group, curves));
    }
    const host = document.querySelector(".layers");
    if (!host || !data.layers) return;
    if (layerView && layerView.host === host) layerView.update(data.layers);
    else layerView = new LayerView(host, data.layers);
  };
  const connectTables = () => {
    for (const table of document.querySelectorAll("table.trials")) new Trials(table);
  };

  // --- following a run that goes on ------------------------------------------------------------------------

  const POLL = { soon: 650, late: 5000 }; // milliseconds between two questions

  class Following {
    constructor() {
      this.seen = "";
      this.page = null;
      this.parts = new Map([...document.querySelectorAll("[data-part]")].map((part) => [part.id, part.innerHTML]));
      this.ask();
    }

    async ask() {
      let wait = POLL.soon;
      try {
        const response = await fetch(`news?seen=${encodeURIComponent(this.seen)}`);
        if (response.status === 200) await this.take(await response.json());
        if (this.goesOn === false) wait = POLL.late;
      } catch {
        this.say("nobody answers any longer: nnlab watch has ended");
        wait = POLL.late;
      }
      setTimeout(() => this.ask(), wait);
    }

    async take(news) {
      const isMissing = Object.keys(news.data.groups).some((key) => !document.querySelector(`.charts[data-group="${key}"]`))
        || (news.data.layers && !document.querySelector(".layers"))
        || (this.goesOn && !news.goes_on); // then there are figures
      if (isMissing) return location.reload();
      this.seen = news.number;
      this.goesOn = news.goes_on;
      data = news.data;
      this.say(news.goes_on ? `following: ${news.progress}` : news.progress);
      drawCharts();
      if (this.page !== null && this.page !== news.page) await this.renew();
      this.page = news.page;
      return undefined;
    }

    say(text) {
      document.getElementById("pulse").textContent = text;
    }

    /** The parts of the page that have changed are put in the place of what is there. */
    async renew() {
      const text = await (await fetch(location.pathname)).text();
      const renewed = new DOMParser().parseFromString(text, "text/html");
      for (const part of renewed.querySelectorAll("[data-part]")) {
        const here = document.getElementById(part.id);
        if (!here || this.parts.get(part.id) === part.innerHTML) continue;
        this.parts.set(part.id, part.innerHTML);
        const focused = here.contains(document.activeElement) ? document.activeElement.id : "";
        here.replaceChildren(...part.childNodes);
        for (const table of here.querySelectorAll("table.trials")) new Trials(table);
        if (focused) document.getElementById(focused)?.focus();
      }
    }
  }

  const isLive = document.body.dataset.live !== undefined;
  const following = isLive ? new Following() : null; // before the tables are changed
  drawCharts();
  connectTables();
  if (following) root.classList.add("live");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const charts of groups.values()) charts.build();
    if (layerView) layerView.build();
  });
})();
