// A curve of the last hour.

const HOUR = 3600000;

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http:" + "//www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/// Parts of a curve without what is missing between them.
function pieces(times, values, now) {
  const all = [];
  let current = [];
  times.forEach((time, at) => {
    const value = values[at];
    if (value === null || value === undefined) {
      if (current.length) all.push(current);
      current = [];
    } else if (now - time <= HOUR) {
      current.push([100 - (now - time) / HOUR * 100, value]);
    }
  });
  if (current.length) all.push(current);
  return all;
}

function curve(times, values, what) {
  const now = times.length ? times[times.length - 1] : 0;
  const parts = pieces(times, values, now);
  const heights = parts.flat().map(([, value]) => value);
  const most = Math.max(0, ...heights);
  const least = heights.length ? Math.min(...heights) : 0;
  const y = (value) => 30 - (most > 0 ? value / most * 28 : 0);
  const drawn = svg("svg", { class: "curve", viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" });
  drawn.append(svg("line", { class: "floor", x1: 0, x2: 100, y1: 30, y2: 30 }));
  for (const part of parts) {
    const line = part.map(([x, value], at) => `${at ? "L" : "M"}${x.toFixed(2)} ${y(value).toFixed(2)}`).join("");
    const [first, last] = [part[0][0], part[part.length - 1][0]];
    if (most > 0) drawn.append(svg("path", { class: "area", d: `${line}L${last.toFixed(2)} 30L${first.toFixed(2)} 30Z` }));
    drawn.append(svg("path", { class: "line", d: line }));
  }
  const told = heights.length
    ? `${what} in the last hour: ${about(least)} to ${about(most)}`
    : `${what} in the last hour: not known`;
  return [drawn, h("span", { class: "unseen" }, told)];
}
