// Dead letters and runs, page by page.

let letters = { cause: "", next: null, rows: [] };
let shownRun = "";

const parameters = () => new URLSearchParams(location.hash.split("?")[1] || "");

async function openFailed() {
  letters = { cause: parameters().get("cause") || "", next: null, rows: [] };
  // What was opened in an older list would be closed by the new one.
  show(byId("failed-list"));
  await moreLetters(true);
}

async function moreLetters(isFirst) {
  const asked = letters;
  const said = byId("failed-said");
  say(said, "reading");
  const query = new URLSearchParams();
  if (asked.cause) query.set("cause", asked.cause);
  if (!isFirst && asked.next !== null) query.set("before", asked.next);
  try {
    const found = await (await ask(`/api/dead-letters?${query}`)).json();
    if (asked !== letters) return;
    // What was read before makes room: the page holds a few hundred at most.
    asked.rows = asked.rows.concat(found.letters).slice(-400);
    asked.next = found.next;
    const older = asked.next === null ? "" : "; there may be older ones";
    say(said, `${many(asked.rows.length, "dead letter")} shown, the newest first${older}`);
  } catch (error) {
    if (asked !== letters) return;
    say(said, error.message, true);
  }
  drawLetters();
}

function drawLetters() {
  const counts = data("letters")?.causes.counts || {};
  const names = [...new Set([...Object.keys(counts), letters.cause].filter(Boolean))].sort();
  const choose = h("select", { "data-key": "cause", on: { change: (event) => { location.hash = event.target.value ? `#/failed?cause=${encodeURIComponent(event.target.value)}` : "#/failed"; } } },
    h("option", { value: "" }, "all causes"),
    names.map((name) => h("option", { value: name, selected: name === letters.cause }, `${name.slice(0, 60)} (${count(counts[name] || 0)})`)));
  const tools = [h("label", {}, "Cause ", choose)];
  if (state?.setup.can_change && letters.cause) {
    tools.push(
      h("button", { type: "button", "data-key": "replay", on: { click: () => changeLetters("replay", { cause: letters.cause }, counts[letters.cause]) } }, "Replay all of this cause"),
      h("button", { type: "button", class: "danger", "data-key": "drop", on: { click: () => changeLetters("drop", { cause: letters.cause }, counts[letters.cause]) } }, "Drop all of this cause"));
  }
  show(byId("failed-tools"), tools);
  const made = letters.rows.length ? table({ unseen: "Dead letters" }, [
    ["Id", (it) => h("button", { type: "button", class: "small", "aria-expanded": "false", "data-key": `letter-${it.id}`, on: { click: (event) => openLetter(event.currentTarget, it.id) } }, String(it.id), h("span", { class: "unseen" }, ": show its job"))],
    ["Died", (it) => when(it.died)],
    ["Cause", (it) => named(it.cause, 60)],
    ["Reason", (it) => named(it.reason, 300)],
    ["Deliveries", (it) => count(it.deliveries), { n: true }],
    ["Job", (it) => h("span", { class: "mono" }, named(it.subject || "", 80))],
  ], letters.rows) : h("p", { class: "note" }, "No dead letter here.");
  show(byId("failed-list"), made);
  show(byId("failed-more"), letters.next === null ? null : h("button", { type: "button", "data-key": "older", on: { click: () => moreLetters(false) } }, "Older"));
}

async function openLetter(button, id) {
  const row = button.closest("tr");
  const open = row.nextElementSibling;
  if (open && open.classList.contains("opened")) {
    open.remove();
    button.setAttribute("aria-expanded", "false");
    return;
  }
  const inner = h("div", { class: "inner" }, "reading");
  row.after(h("tr", { role: "row", class: "opened" }, h("td", { role: "cell", colspan: "6", class: "all" }, inner)));
  button.setAttribute("aria-expanded", "true");
  try {
    const found = await (await ask(`/api/dead-letter?id=${id}`)).json();
    const it = found.letter;
    const tools = state?.setup.can_change ? h("div", { class: "tools" },
      h("button", { type: "button", class: "small", on: { click: () => changeLetters("replay", { ids: [id] }, 1) } }, "Replay this one"),
      h("button", { type: "button", class: "small danger", on: { click: () => changeLetters("drop", { ids: [id] }, 1) } }, "Drop this one")) : null;
    show(inner,
      h("p", {}, h("strong", {}, named(it.cause, 60)), ": ", named(it.reason, 1100)),
      h("p", { class: "note" }, `given up by ${it.worker || "nobody known"} after ${many(it.deliveries ?? 0, "delivery", "deliveries")}${it.run ? `, of run ${it.run}` : ""}; ${count(it.bytes)} bytes`),
      h("p", { class: "note" }, `The job, without its texts (indexer dlq show ${id} prints them):`),
      h("pre", { tabindex: "0", dir: "auto" }, JSON.stringify(found.job, null, 2)), tools);
  } catch (error) { show(inner, h("p", { class: "bad" }, error.message)); }
}

async function changeLetters(verb, meant, n) {
  const seen = data("letters");
  const least = seen && seen.causes.read < seen.total ? "at least " : "";
  const what = meant.cause ? `all dead letters of the cause ${meant.cause}${n ? ` (${least}${count(n)})` : ""}` : `dead letter ${meant.ids.join(", ")}`;
  const text = verb === "replay" ? `Publish ${what} again, and remove them here?` : `Remove ${what} for good? Their jobs are lost.`;
  if (!await confirmed(text, verb === "replay" ? "Replay" : "Drop")) return;
  const said = byId("failed-said");
  say(said, "working");
  try {
    const done = await (await ask(`/api/dead-letters/${verb}`, meant)).json();
    const parts = [["replayed", done.replayed], ["dropped", done.dropped], ["published before", done.recognised], ["gone already", done.gone], ["unreadable", done.unreadable], ["refused", done.refused]];
    const told = parts.filter(([, n]) => n).map(([what, n]) => `${count(n)} ${what}`).join(", ") || "nothing to do";
    await openFailed();
    say(said, done.error ? `${told}; then it stopped: ${done.error}` : told, Boolean(done.error));
  } catch (error) { say(said, error.message, true); }
}

// Runs.

async function openRuns() {
  const said = byId("runs-said");
  const chosen = parameters();
  const offset = Math.max(0, Number(chosen.get("offset")) || 0);
  try {
    const found = await (await ask(`/api/runs?offset=${offset}`)).json();
    say(said, `${many(found.total, "run")} recorded`);
    const made = found.runs.length ? table({ unseen: "Runs, the one that was recorded last first" }, [
      ["Run", (run) => h("a", { href: runLink(run), "data-key": `r-${run.verb}-${run.run}` }, run.verb, " ", named(run.run, 60))],
      ["Alias", (run) => named(run.alias || "", 60)],
      ["Phase", (run) => phase(run)],
      ["Recorded", (run) => when(run.updated)],
      ["Stopped by", (run) => (run.failed ? named(run.failed, 160) : "")],
    ], found.runs) : h("p", { class: "note" }, "No run is recorded.");
    show(byId("runs-list"), made);
    const step = 50;
    show(byId("runs-more"),
      offset > 0 ? h("a", { href: `#/runs?offset=${Math.max(0, offset - step)}`, "data-key": "newer" }, "Newer") : null,
      offset + step < found.total ? h("a", { href: `#/runs?offset=${offset + step}`, "data-key": "older" }, "Older") : null);
  } catch (error) { say(said, error.message, true); }
  await openRun(chosen);
}

async function openRun(chosen) {
  const place = byId("run");
  const run = chosen.get("run");
  shownRun = run;
  if (!run) return show(place);
  try {
    const query = new URLSearchParams({ verb: chosen.get("verb") || "", run });
    if (chosen.get("alias")) query.set("alias", chosen.get("alias"));
    const it = await (await ask(`/api/run?${query}`)).json();
    if (shownRun !== run) return;
    show(place, describeRun(run, it));
    place.querySelector("h3").focus();
  } catch (error) { show(place, h("p", { class: "bad" }, error.message)); }
}

function describeRun(run, it) {
  const sentence = [];
  if (it.serving && it.generation) sentence.push(h("p", {}, named(it.serving, 80), " → ", named(it.generation, 80)));
  if (it.failed) sentence.push(h("p", { class: "bad" }, "Stopped: ", named(it.failed, 1000)));
  if (it.failed && (it.gates || []).some((gate) => gate.name === "refused" && !gate.passed) && sum(it.phases || [], (part) => part.published)) sentence.push(h("p", {}, "Its jobs stay in the queue, and workers go on with them. The same command goes on with the run; with --fresh it gives the run up and removes them."));
  const gates = (it.gates || []).length ? table({ text: "Gates: what was found, and the limit" }, [
    ["Gate", (gate) => named(gate.name, 60)],
    ["Passed", (gate) => (gate.passed ? h("span", { class: "good" }, "yes") : h("span", { class: "bad" }, "no"))],
    ["Found", (gate) => number(gate.value), { n: true }],
    ["Limit", (gate) => number(gate.limit), { n: true }],
    ["In words", (gate) => named(gate.finding, 400)],
  ], it.gates) : null;
  const phases = (it.phases || []).length ? table({ text: "Phases" }, [
    ["Phase", (part) => String(part.phase).replaceAll("_", " ")],
    ["Documents", (part) => count(part.documents), { n: true }],
    ["Chunks", (part) => count(part.chunks), { n: true }],
    ["Reused", (part) => count(part.reused), { n: true }],
    ["Published", (part) => count(part.published), { n: true }],
    ["Dead letters", (part) => count(part.dead_lettered), { n: true }],
    ["Time", (part) => span(part.seconds), { n: true }],
    ["Tokens/s", (part) => (part.tokens_per_second ? about(part.tokens_per_second) : ""), { n: true }],
  ], it.phases) : null;
  const last = (it.phases || []).find((part) => part.phase === "balanced");
  const ledger = it.expected !== undefined ? h("p", {}, `${many(it.expected, "chunk")} of ${many(it.documents ?? 0, "document")} are due. Of these ${count(it.superseded ?? 0)} were replaced by something newer meanwhile (superseded), and ${many(last?.dead_lettered ?? 0, "is a dead letter", "are dead letters")}. ${many(it.refused ?? 0, "document")} of the source could not be read (refused).`) : null;
  const embedded = sum(it.phases || [], (part) => part.published_tokens);
  const rate = speed();
  const price = rate ? money(embedded / rate / 3600) : null;
  const costs = embedded ? h("p", { class: "note" }, `${about(embedded)} tokens were published to be embedded${rate ? `: ≈ ${inHours(embedded / rate / 3600)} of a worker${price === null ? "" : `, ${worth(price)}`}` : ""}.`) : null;
  return [h("h3", { tabindex: "-1" }, "Run ", named(run, 80)), sentence, ledger, costs, gates, phases];
}

function number(value) {
  if (typeof value !== "number") return "?";
  return Number.isInteger(value) ? count(value) : new Intl.NumberFormat("en", { maximumFractionDigits: 4 }).format(value);
}
