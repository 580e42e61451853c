"use strict";
// Draws the charts from the data in the page. Without it, the tables say the same.
(() => {
  const parts = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const brief = (value) => String(Number(value.toPrecision(4)));
  const score = (value) => value.toFixed(3);
  const range = ([low, high]) => (low === high ? score(low) : `${score(low)} to ${score(high)}`);
  const element = (tag, attributes = {}, text = "") => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.textContent = text;
    return made;
  };
  document.documentElement.classList.add("scripted");

  /** [low, high] of a pair's mutual error at an epsilon, as `Curve.at` has it. */
  function at([, , points, witnessed, proven], epsilon) {
    const sat = d3.sum(witnessed, ([value, count]) => (value <= epsilon ? count : 0));
    const unsat = d3.sum(proven, ([value, count]) => (value >= epsilon ? count : 0));
    return [sat / points, Math.max(sat, points - unsat) / points];
  }

  /** Relative luminance of a colour, as WCAG defines it. */
  function luminance({ r, g, b }) {
    const [red, green, blue] = [r, g, b].map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }

  function chart(plot, label, title) {
    const box = element("div", { class: "chart" });
    if (title) box.append(element("p", { class: "note" }, title));
    const picture = element("div", { role: "img", "aria-label": label });
    for (const mark of plot.querySelectorAll("[aria-label]")) mark.removeAttribute("aria-label"); // one label says it all
    picture.append(plot);
    box.append(picture);
    return box;
  }

  // --- heatmap ----------------------------------------------------------------------------------

  const RESOLUTION = 200;

  function heatmap(root, part) {
    const slider = root.querySelector(".epsilon");
    const top = d3.max(part.epsilons) || 1;
    const most = Math.max(0.05, part.largest);
    const shade = () => {
      const scale = dark.matches && !matchMedia("print").matches
        ? (t) => d3.interpolateCividis(0.08 + 0.92 * t) : (t) => d3.interpolateYlOrBr(0.04 + 0.86 * t);
      return (value) => scale(Math.min(1, value / most));
    };
    let epsilon = part.start;
    const cells = [...root.querySelectorAll(".heatmap td[data-pair]")];
    const curves = new Map(part.curves.flatMap((curve) => [
      [`${curve[0]} ${curve[1]}`, curve], [`${curve[1]} ${curve[0]}`, curve]]));
    slider.max = RESOLUTION;

    function draw() {
      const paint = shade();
      const limits = part.limits.filter(([metric, e]) => metric === "max_mutual_error" && e === epsilon);
      const limit = d3.min(limits, ([, , threshold]) => threshold);
      for (const cell of cells) {
        const curve = curves.get(cell.dataset.pair);
        if (!curve) continue;
        const [low, high] = at(curve, epsilon);
        const back = d3.rgb(paint(high));
        cell.style.background = back;
        cell.style.color = luminance(back) > 0.18 ? "#000000" : "#ffffff"; // equal contrast with both: 0.179
        cell.textContent = low === high ? low.toFixed(2) : `${low.toFixed(2)}–${high.toFixed(2)}`;
        if (curve[2] > 100 || Math.abs(low * 100 - Math.round(low * 100)) > 1e-9) {
          cell.textContent = low === high ? score(low) : `${score(low)}–${score(high)}`;
        }
        const over = limit !== undefined && low > limit;
        cell.classList.toggle("over", over);
        cell.classList.toggle("wide", low !== high);
        if (over) cell.append(element("span", { class: "hidden" }, " over the limit"));
      }
      for (const place of root.querySelectorAll(".slider .value, .heatmap .value")) place.textContent = brief(epsilon);
      slider.setAttribute("aria-valuetext", `epsilon ${brief(epsilon)}`);
      for (const tick of root.querySelectorAll(".tick")) {
        tick.setAttribute("aria-pressed", String(Number(tick.dataset.epsilon) === epsilon));
      }
      root.querySelector(".said").textContent = describe(limit);
      legend(paint, limit);
    }

    function describe(limit) {
      const found = part.curves.map((curve) => [curve, at(curve, epsilon)]);
      const [worst, value] = d3.greatest(found, (a, b) => d3.ascending(a[1][1], b[1][1]) || d3.ascending(a[1][0], b[1][0]));
      const none = found.filter(([, [, high]]) => high === 0).length;
      const names = `${part.members[worst[0]]} and ${part.members[worst[1]]}`;
      const over = limit === undefined ? "" : ` ${found.filter(([, [low]]) => low > limit).length} of ${found.length} pairs are over the limit of ${brief(limit)}.`;
      if (value[1] === 0) return `At epsilon ${brief(epsilon)} no pair has a mutual error.`;
      const never = none ? ` ${none} of ${found.length} pairs never do.` : "";
      return `At epsilon ${brief(epsilon)}, ${names} err together most: ${range(value)}.${never}${over}`;
    }

    function legend(paint, limit) {
      const place = root.querySelector(".legend");
      const ramp = element("span", { class: "ramp" }, "");
      ramp.append("0");
      ramp.append(document.createTextNode(" "));
      for (const t of d3.range(0, 1.01, 0.125)) {
        const step = element("i");
        step.style.background = paint(t * most);
        ramp.append(step);
      }
      ramp.append(` ${brief(most)}`);
      const keys = [ramp];
      const key = (name, text) => {
        const made = element("span");
        made.append(element("i", { class: name }), text);
        keys.push(made);
      };
      if (limit !== undefined) key("over", `over the limit of ${brief(limit)}`);
      key("wide", "undecided between two values; coloured as the higher one");
      place.replaceChildren(...keys);
    }

    const set = (value) => {
      epsilon = value;
      slider.value = Math.round((value / top) * RESOLUTION);
      draw();
    };
    slider.addEventListener("input", () => {
      const value = (Number(slider.value) / RESOLUTION) * top;
      const asked = part.epsilons.find((one) => Math.round((one / top) * RESOLUTION) === Number(slider.value));
      epsilon = asked === undefined ? value : asked;
      draw();
    });
    for (const tick of root.querySelectorAll(".tick")) tick.addEventListener("click", () => set(Number(tick.dataset.epsilon)));
    set(epsilon);
    return draw;
  }

  // --- uniqueness -------------------------------------------------------------------------------

  let hatches = 0;
  function hatch(stroke) {
    const id = `hatch-${hatches++}`;
    const mark = () => {
      const space = "http://www.w3.org/2000/svg";
      const defs = document.createElementNS(space, "defs");
      const pattern = document.createElementNS(space, "pattern");
      const line = document.createElementNS(space, "path");
      for (const [name, value] of Object.entries({ id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" })) pattern.setAttribute(name, value);
      line.setAttribute("d", "M0 0V6");
      line.setAttribute("stroke", stroke);
      line.setAttribute("stroke-width", "4");
      pattern.append(line);
      defs.append(pattern);
      return defs;
    };
    return [mark, `url(#${id})`];
  }

  function bars(root, part) {
    const place = root.querySelector(".bars");
    const width = Math.min(720, place.clientWidth || 640);
    const lowest = d3.min(part.uniqueness, ({ need, rows }) => Math.min(need ?? 1, d3.min(rows, (row) => row[1])));
    const least = Math.max(0, 1 - Math.max(0.02, (1 - lowest) * 1.25));
    const left = Math.min(140, width * 0.3, 24 + 8 * d3.max(part.members, (name) => name.length));
    place.replaceChildren(...part.uniqueness.map(({ epsilon, need, rows }) => {
      const data = rows.map(([member, low, high, verdict]) => ({ member, low, high, verdict }));
      const [defs, fill] = hatch(colour("--accent"));
      const plot = Plot.plot({
        width, marginLeft: left, marginRight: width < 480 ? 64 : 110, marginTop: 4, marginBottom: 32,
        height: 40 + 26 * rows.length, style: { background: "none", fontSize: "13px" },
        x: { domain: [1, least], ticks: width < 480 ? 3 : 6, label: null, tickFormat: (v) => v.toFixed(2), grid: true },
        y: { domain: part.members, label: null, tickSize: 0, padding: 0.3, tickFormat: (name) => (name.length * 8 > left - 16 ? `${name.slice(0, Math.floor((left - 24) / 8))}…` : name) },
        marks: [
          defs,
          Plot.barX(data, { x1: 1, x2: "high", y: "member", fill: (d) => (d.verdict === "fail" ? colour("--fail") : colour("--accent")) }),
          Plot.barX(data.filter((d) => d.low !== d.high), { x1: "high", x2: "low", y: "member", fill, stroke: colour("--accent") }),
          ...(need === null ? [] : [Plot.ruleX([need], { stroke: "currentColor", strokeWidth: 1.5, strokeDasharray: "4 3" })]),
          Plot.text(data, { x: "low", y: "member", textAnchor: "start", dx: 6, fill: "currentColor", stroke: colour("--page"), strokeWidth: 5,
            text: (d) => `${d.low === d.high ? score(d.low) : `${score(d.low)}–${score(d.high)}`}${d.verdict && d.verdict !== "pass" ? (width < 480 ? " ✕" : ` ${d.verdict}s`).replace("inconclusives", "open") : ""}` }),
        ],
      });
      const text = data.map((d) => `${d.member} ${range([d.low, d.high])}`).join(", ");
      const limit = need === null ? "" : `; limit ${brief(need)} (dashed line)`;
      return chart(plot, `Uniqueness at epsilon ${brief(epsilon)}: ${text}`, `Epsilon ${brief(epsilon)}${limit}`);
    }));
  }

  // --- curves -----------------------------------------------------------------------------------

  /** Corners of a step function that changes at these values. */
  function corners(curve, top, end) {
    const [, , , witnessed, proven] = curve;
    // a proof holds at its epsilon and no longer after it
    const places = [0, top, ...witnessed.map(([v]) => v), ...proven.flatMap(([v]) => [v, v * (1 + 1e-9)])];
    return [...new Set(places.filter((v) => v >= 0 && v <= top))].sort(d3.ascending).map((x) => ({ x, low: at(curve, x)[0], high: at(curve, x)[1], end }));
  }

  function curves(root, part) {
    const place = root.querySelector(".curve");
    const select = root.querySelector(".pair");
    const top = d3.max(part.epsilons) || 1;
    const worst = d3.greatestIndex(part.curves, (a, b) => d3.ascending(at(a, part.start)[0], at(b, part.start)[0]) || d3.ascending(at(a, part.start)[1], at(b, part.start)[1]));
    select.value = String(worst);

    function draw() {
      const chosen = Number(select.value);
      const width = Math.min(860, place.clientWidth || 640);
      const all = part.curves.map((curve, k) => corners(curve, top).map((corner) => ({ ...corner, k })));
      const limits = part.limits.filter(([metric]) => metric === "max_mutual_error").map(([, epsilon, y]) => ({ epsilon, y }));
      const own = all[chosen];
      const name = (k) => part.curves[k].slice(0, 2).map((m) => part.members[m]).join(" and ");
      const high = d3.max(own, (d) => d.high);
      const most = Math.min(1, Math.max(0.02, d3.max(all.flat(), (d) => d.low) * 1.3, d3.max(limits, (d) => d.y) * 1.3 || 0, Math.min(high, 0.6) * 1.05));
      const plot = Plot.plot({
        width, height: width < 480 ? 260 : 320, marginLeft: 44, marginRight: 12, marginBottom: 40, marginTop: 24,
        style: { background: "none", fontSize: "13px" },
        x: { domain: [0, top], label: "epsilon", labelArrow: "none", ticks: width < 480 ? 4 : 8 },
        y: { domain: [0, most], label: "mutual error", labelArrow: "none", grid: true, ticks: 5, clamp: true },
        marks: [
          Plot.ruleX(part.epsilons, { stroke: colour("--soft"), strokeDasharray: "1 3" }),
          Plot.line(all.filter((_, k) => k !== chosen).flat(), { x: "x", y: "low", z: "k", stroke: colour("--other"), strokeWidth: 1.25, curve: "step-after" }),
          Plot.areaY(own, { x: "x", y1: "low", y2: "high", fill: colour("--band"), curve: "step-after", clip: true }),
          Plot.line(own, { x: "x", y: "low", stroke: colour("--accent"), strokeWidth: 2.5, curve: "step-after" }),
          Plot.dot(limits, { x: "epsilon", y: "y", symbol: "times", stroke: colour("--fail"), strokeWidth: 2.5, r: 5 }),
          Plot.ruleY([0], { stroke: colour("--soft") }),
        ],
      });
      const values = part.epsilons.map((e) => `${range(at(part.curves[chosen], e))} at ${brief(e)}`).join(", ");
      place.replaceChildren(chart(plot, `Mutual error of ${name(chosen)} against epsilon: ${values}.`),
        element("p", { class: "note" }, `${name(chosen)}: ${values}. Grey: the other ${part.curves.length - 1} pairs.${limits.length ? " × marks the limit of a gate." : ""}`));
    }
    select.addEventListener("change", draw);
    draw();
    return draw;
  }

  // --- changes of tabular inputs ----------------------------------------------------------------

  function changes(root, part) {
    for (const place of root.querySelectorAll(".changes")) {
      const data = part.changes[Number(place.dataset.exhibit)].map(([feature, change]) => ({ feature: String(feature), change }));
      const plot = Plot.plot({
        width: Math.min(420, place.clientWidth || 320), height: 44 + 18 * data.length, marginLeft: 48, marginTop: 4, marginBottom: 36,
        style: { background: "none", fontSize: "12px" },
        x: { label: "change of the value", labelAnchor: "center", labelArrow: "none", ticks: 4, tickFormat: "~g", grid: true },
        y: { domain: data.map((d) => d.feature), label: null, tickSize: 0 },
        marks: [
          Plot.barX(data, { x: "change", y: "feature", fill: (d) => (d.change < 0 ? "#8073ac" : "#c9721a") }),
          Plot.ruleX([0], { stroke: "currentColor" }),
        ],
      });
      place.replaceChildren(chart(plot, `Changes of input values: ${data.map((d) => `${d.feature} by ${brief(d.change)}`).join(", ")}`));
    }
  }

  // --- all --------------------------------------------------------------------------------------

  const again = [];
  for (const root of document.querySelectorAll(".ensemble")) {
    const part = parts[Number(root.dataset.part)];
    if (part.curves.length) again.push(heatmap(root, part), curves(root, part));
    const rest = () => {
      if (part.uniqueness.length) bars(root, part);
      changes(root, part);
    };
    rest();
    again.push(rest);
  }
  const redraw = () => again.forEach((draw) => draw());
  let waiting = 0;
  let seen = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === seen) return;
    seen = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(redraw, 150);
  });
  dark.addEventListener("change", redraw);
  for (const moment of ["beforeprint", "afterprint"]) addEventListener(moment, redraw);
})();
