// The overview: five answers, and the figures behind them.

let state = null;
let past = { times: [], lanes: {}, workers: [] };

const data = (part) => (state && state[part] ? state[part].data : null);
const lanesOf = () => data("queue")?.lanes || [];
const sum = (list, of) => list.reduce((all, item) => all + (of(item) || 0), 0);

function figure(text, kind, more) {
  return h("dd", { class: `figure ${kind || ""}` }, text, more ? h("small", {}, ` ${more}`) : null);
}

/// What the answer is made of; what of it cannot be seen any more makes it an old one.
const MADE_OF = { Waiting: "queue", "Done in": "queue", Failed: "letters", Index: "index", Cost: "queue" };

function answer(title, ...said) {
  const part = state?.[MADE_OF[title]];
  const isOld = part && part.error !== null && part.data !== null;
  return h("div", { class: isOld ? "old" : null }, h("dt", {}, title, isOld && part.at ? [", seen ", when(part.at)] : null), said);
}

const note = (...text) => h("dd", { class: "note" }, text);

function answers() {
  show(byId("answers"), waiting(), doneIn(), failed(), indexed(), cost());
}

function waiting() {
  const queue = data("queue");
  if (!queue) return answer("Waiting", figure("?"), note(unseen("queue")));
  const lag = sum(queue.lanes, (lane) => lane.lag);
  const flight = sum(queue.lanes, (lane) => lane.ack_pending);
  const told = tokensThatWait();
  const orphans = queue.orphaned.jobs;
  return answer("Waiting", figure(count(lag), "", lag === 1 ? "job" : "jobs"),
    note(`${told === null ? "? tokens" : `${told.mark}${about(told.tokens)} tokens`}, ${count(flight)} in flight`,
      orphans ? h("span", { class: "bad" }, `; ${many(orphans, "job")} that no consumer reads`) : null));
}

function tokensThatWait() {
  let tokens = 0, isEstimate = false;
  for (const lane of lanesOf()) {
    if (lane.lag === 0) continue;
    if (!lane.lag_tokens) return null;
    tokens += lane.lag_tokens.tokens;
    isEstimate = isEstimate || lane.lag_tokens.estimate;
  }
  return { tokens, mark: isEstimate ? "≈ " : "" };
}

function doneIn() {
  const queue = data("queue");
  if (!queue) return answer("Done in", figure("?"), note(unseen("queue")));
  const lag = sum(queue.lanes, (lane) => lane.lag);
  if (lag === 0) return answer("Done in", figure("Done", "good"), note("nothing waits"));
  const rate = queue.rate;
  if (!rate) return answer("Done in", figure("…"), note("the rate takes two looks"));
  if (rate.eta_seconds === null) {
    const pulls = sum(queue.lanes, (lane) => lane.waiting_pulls);
    const why = pulls ? "nothing moves, though workers pull" : "nothing moves: no worker pulls, or all are busy with long jobs";
    return answer("Done in", figure("Not moving", "warn"), note(why));
  }
  const tokens = rate.tokens_per_second === null ? "" : `, ≈ ${about(rate.tokens_per_second)} tokens/s`;
  return answer("Done in", figure(span(rate.eta_seconds)), note(`at ${perSecond(rate.acked_per_second)} jobs/s${tokens}`));
}

function failed() {
  const letters = data("letters");
  if (!letters) return answer("Failed", figure("?"), note(unseen("letters")));
  if (letters.total === 0) return answer("Failed", figure("Nothing", "good"), note("no dead letters"));
  const causes = Object.entries(letters.causes.counts).sort((a, b) => b[1] - a[1]);
  const first = causes.slice(0, 2).map(([cause, n]) => `${cause.slice(0, 40)} ${count(n)}`).join(", ");
  const stopped = (data("runs")?.shown || []).filter((run) => run.failed && !run.over).length;
  return answer("Failed", figure(count(letters.total), "bad", letters.total === 1 ? "dead letter" : "dead letters"),
    note(h("a", { href: "#/failed", "data-key": "failed" }, first || "see them"), stopped ? `; ${many(stopped, "run")} stopped by a gate` : ""));
}

function lacks(found) {
  return sum(Object.values(found.lacking || {}), (n) => n);
}

function indexed() {
  const index = data("index");
  if (!index) return answer("Index", figure("?"), note(unseen("index")));
  const all = index.collections;
  if (!all.length) return answer("Index", figure("None"), note("no alias; indexer provision or rebuild makes one"));
  const points = sum(all, (found) => found.points);
  const told = `${many(all.length, "alias", "aliases")}, ${about(points)} points`;
  const unknown = all.some((found) => found.points === null) || index.unknown.length > 0;
  const lacking = sum(all, lacks);
  const red = all.filter((found) => found.health === "red");
  if (lacking) return answer("Index", figure("Not whole", "bad"), note(`${many(lacking, "vector")} missing; ${told}`));
  if (red.length) return answer("Index", figure("Not whole", "bad"), note(`Qdrant reports a failure of ${red[0].name}`));
  if (unknown) return answer("Index", figure("Not known", "warn"), note(told));
  return answer("Index", figure("Whole", "good"), note(`${told}, no vector missing`));
}

/// Tokens that one worker embeds in a second: what was said, else what busy workers do.
function speed() {
  if (state?.setup.tokens_per_second) return state.setup.tokens_per_second;
  const busy = (data("workers")?.workers || []).filter((worker) => worker.busy > 0.2);
  if (!busy.length) return null;
  return sum(busy, (worker) => worker.tokens_per_second / worker.busy) / busy.length;
}

/// Hours of workers that waiting tokens take, and that were spent in the last hour.
function hours() {
  const told = tokensThatWait();
  const rate = speed();
  const ahead = told && rate ? told.tokens / rate / 3600 : told && told.tokens === 0 ? 0 : null;
  const seen = past.workers.filter((n) => n !== null && n !== undefined);
  const spent = seen.length ? sum(seen, (n) => n) * past.step / 3600 : null;
  return { ahead, spent };
}

function money(spent) {
  const price = state?.setup.price_per_hour;
  return spent === null || price === null || price === undefined ? null : spent * price;
}

const worth = (value) => (value > 0 && value < 0.01 ? "< 0.01" : two.format(value));
const inHours = (value) => (value > 0 && value < 0.01 ? "< 0.01 h" : `${two.format(value)} h`);

function cost() {
  const { ahead, spent } = hours();
  const price = money(ahead);
  if (ahead === 0) return answer("Cost", figure("Nothing", "good"), note(spent === null ? "nothing waits" : `nothing waits; ${inHours(spent)} of workers in the last hour`));
  if (price !== null) return answer("Cost", figure(`≈ ${worth(price)}`), note(`for what waits: ${inHours(ahead)} of a worker`));
  if (ahead !== null) return answer("Cost", figure(inHours(ahead), "", "of a worker"), note("for what waits; a price by --price-per-hour"));
  if (spent !== null) return answer("Cost", figure(inHours(spent), "", "of workers"), note("in the last hour"));
  return answer("Cost", figure("Not known"), note("give --tokens-per-second, or --workers to measure it"));
}

function unseen(part) {
  return state?.[part]?.error ? "not reached yet" : "looking";
}

// The parts.

function lanes() {
  const queue = data("queue");
  if (!queue) return show(byId("lanes"), h("p", { class: "note" }, unseen("queue")));
  if (!queue.lanes.length) return show(byId("lanes"), h("p", { class: "note" }, "No lane: indexer provision makes those of a model."));
  const rows = queue.lanes;
  const made = table({ unseen: "Lanes of jobs" }, [
    ["Lane", (lane) => [named(lane.model, 60), unit(lane.task === "embed" ? lane.lane : `${lane.lane}, ${lane.task}`)]],
    ["Waiting", (lane) => [count(lane.pending), unit("jobs")], { n: true }],
    ["In flight", (lane) => [count(lane.ack_pending), unit("jobs")], { n: true }],
    ["Tokens", (lane) => (lane.lag_tokens ? `${lane.lag_tokens.estimate ? "≈ " : ""}${about(lane.lag_tokens.tokens)}` : "?"), { n: true }],
    ["Rate", (lane) => (lane.rate ? [perSecond(lane.rate.acked_per_second), unit("jobs/s")] : "…"), { n: true }],
    ["Tokens/s", (lane) => (lane.rate && lane.rate.tokens_per_second !== null ? `≈ ${about(lane.rate.tokens_per_second)}` : ""), { n: true }],
    ["Time left", (lane) => timeLeft(lane), { n: true }],
    ["Idle pulls", (lane) => count(lane.waiting_pulls), { n: true }],
    ["Last hour", (lane) => curve(past.times, past.lanes[lane.consumer]?.lag || [], `jobs on ${lane.consumer}`)],
  ], rows);
  const more = queue.more_lanes ? h("p", { class: "note" }, `${many(queue.more_lanes, "more lane")}; indexer status shows all`) : null;
  const orphans = queue.orphaned.subjects.slice(0, 5).map((found) =>
    h("p", { class: "bad" }, named(found.subject), `: ${many(found.jobs, "job")} that no consumer reads; indexer provision with that model makes one`));
  show(byId("lanes"), made, more, orphans);
}

function timeLeft(lane) {
  if (lane.lag === 0) return "";
  if (!lane.rate) return "…";
  return lane.rate.eta_seconds === null ? h("span", { class: "warn" }, "not moving") : span(lane.rate.eta_seconds);
}

function aliases() {
  const index = data("index");
  if (!index) return show(byId("aliases"), h("p", { class: "note" }, unseen("index")));
  const rows = index.collections;
  const parts = rows.length ? table({ unseen: "Aliases" }, [
    ["Alias", (found) => [named(found.name, 60), " ", h("span", { class: "unit" }, named(found.model || "", 60))]],
    ["Points", (found) => (found.points === null ? h("span", { class: "warn" }, "?") : count(found.points)), { n: true }],
    ["Whole", (found) => wholeness(found)],
    ["Generation", (found) => [found.generation ? h("span", { class: "mono" }, named(found.generation, 60)) : "", found.since ? [" ", unit("since"), " ", when(found.since)] : "", " ", (Object.entries(found.options || {})).map(([name, value]) => h("span", { class: "tag" }, named(`${name}=${value}`, 60)))]],
    ["Rollback", (found) => wayBack(found)],
  ], rows) : h("p", { class: "note" }, "No alias yet.");
  const unknown = index.unknown.slice(0, 5).map((text) => h("p", { class: "warn" }, named(text, 300)));
  show(byId("aliases"), parts, unknown);
}

function wholeness(found) {
  if (found.points === null) return h("span", { class: "warn" }, "not known");
  const missing = Object.entries(found.lacking || {});
  if (missing.length) return h("span", { class: "bad" }, missing.map(([vector, n]) => `${count(n)} lack ${vector}`).join(", "));
  if (found.health === "yellow") return h("span", { class: "warn" }, "yes; Qdrant builds its index");
  if (found.health === "red") return h("span", { class: "bad" }, "Qdrant reports a failure");
  return h("span", { class: "good" }, "yes");
}

function wayBack(found) {
  const back = found.rollback;
  if (!back) return h("span", { class: "unit" }, "none");
  if (back.points === null) return h("span", { class: "unit" }, "was dropped");
  return [h("span", { class: "mono" }, named(back.generation, 60)), unit(many(back.points, "point"))];
}

function workers() {
  const place = byId("workers");
  const found = data("workers");
  if (!state.setup.asks_workers) {
    const idle = {};
    for (const lane of lanesOf()) idle[lane.model] = Math.max(idle[lane.model] || 0, lane.waiting_pulls);
    const pulls = sum(Object.values(idle), (n) => n);
    return show(place, h("p", {}, `${count(pulls)} idle at least.`), h("p", { class: "note" }, "Start the page with --workers HOST:PORT to see what each does."));
  }
  if (!found) return show(place, h("p", { class: "note" }, unseen("workers")));
  const made = found.workers.length ? table({ unseen: "Workers" }, [
    ["Worker", (worker) => [named(worker.address, 60), unit(worker.model)]],
    ["In flight", (worker) => [count(worker.in_flight), unit("jobs")], { n: true }],
    ["Device busy", (worker) => (worker.busy === null ? "…" : [bar(worker.busy), ` ${whole.format(worker.busy * 100)} %`]), { n: true }],
    ["Tokens/s", (worker) => about(worker.tokens_per_second), { n: true }],
    ["Done", (worker) => [count(worker.acked), unit("jobs")], { n: true }],
    ["State", (worker) => (worker.breaker_open ? h("span", { class: "bad" }, "stopped: writes fail") : worker.in_flight > 0 ? "works" : "idle")],
  ], found.workers) : h("p", { class: "note" }, "No worker answers.");
  const silent = Object.entries(found.silent).slice(0, 5).map(([address, why]) => h("p", { class: "warn" }, named(address), ": ", named(why, 200)));
  const more = found.count > found.workers.length ? h("p", { class: "note" }, many(found.count - found.workers.length, "more worker")) : null;
  show(place, made, more, silent);
}

function causes() {
  const place = byId("causes");
  const letters = data("letters");
  if (!letters) return show(place, h("p", { class: "note" }, unseen("letters")));
  const rows = Object.entries(letters.causes.counts).sort((a, b) => b[1] - a[1]).slice(0, 12);
  if (!rows.length) return show(place, h("p", { class: "note" }, "None: every job was done, or waits."));
  const most = rows[0][1];
  const made = table({ unseen: "Dead letters by cause" }, [
    ["Cause", ([cause]) => h("a", { href: `#/failed?cause=${encodeURIComponent(cause)}`, "data-key": `cause-${cause}` }, named(cause, 60))],
    ["Dead letters", ([, n]) => count(n), { n: true }],
    ["", ([, n]) => bar(n / most)],
  ], rows);
  const shown = Object.values(letters.causes.counts).reduce((sum, n) => sum + n, 0);
  const others = letters.causes.read - shown;
  const more = others > 0 ? h("p", { class: "note" }, `${count(others)} of other causes.`) : null;
  const part = letters.causes.read < letters.total ? h("p", { class: "note" }, `Causes of the newest ${count(letters.causes.read)} of ${count(letters.total)}.`) : null;
  show(place, made, more, part);
}

function phase(run) {
  if (run.failed) return h("span", { class: "bad" }, `stopped after ${run.phase}`);
  if (run.phase === "done") return h("span", { class: "good" }, "done");
  return run.phase.replaceAll("_", " ");
}

function runLink(run) {
  const part = (name, value) => `${name}=${encodeURIComponent(value)}`;
  const alias = run.alias === null ? "" : `&${part("alias", run.alias)}`;
  return `#/runs?${part("verb", run.verb)}&${part("run", run.run)}${alias}`;
}

function work() {
  const place = byId("work");
  const runs = data("runs");
  if (!runs) return show(place, h("p", { class: "note" }, unseen("runs")));
  if (!runs.shown.length) return show(place, h("p", { class: "note" }, "No run is recorded."));
  const made = table({ unseen: "Runs that are not over, and the newest that are" }, [
    ["Run", (run) => (run.run ? h("a", { href: runLink(run), "data-key": `run-${run.verb}-${run.run}` }, run.verb, " ", named(run.run, 40)) : run.verb)],
    ["Alias", (run) => named(run.alias || "", 40)],
    ["Phase", (run) => phase(run)],
    ["Recorded", (run) => when(run.updated)],
    ["Worked on by", (run) => (run.over ? "" : run.owner ? `${run.owner.host}, process ${run.owner.process}` : h("span", { class: "warn" }, "nobody"))],
  ], runs.shown.slice(0, 8));
  show(place, made, h("p", { class: "note" }, h("a", { href: "#/runs", "data-key": "all-runs" }, `All ${many(runs.count, "run")}`)));
}

function costs() {
  const { ahead, spent } = hours();
  const rate = speed();
  const priced = (value) => { const price = money(value); return price === null ? "" : worth(price); };
  const rows = [["What waits", ahead, "an estimate: tokens that wait by tokens a second of one worker"], ["The last hour", spent, "workers that answered, while this page ran"]];
  const made = table({ unseen: "Costs" }, [
    ["For", ([what]) => what],
    ["Worker hours", ([, value]) => (value === null ? "?" : inHours(value)), { n: true }],
    ["Price", ([, value]) => priced(value), { n: true }],
    ["How it is known", ([, , how]) => h("span", { class: "note" }, how)],
  ], rows);
  const how = rate ? `One worker embeds ≈ ${about(rate)} tokens a second.` : "How fast a worker is, is not known: give --tokens-per-second, or --workers.";
  const price = state.setup.price_per_hour === null ? " Give --price-per-hour for prices." : ` An hour of a worker costs ${two.format(state.setup.price_per_hour)}.`;
  show(byId("costs"), made, h("p", { class: "note" }, how + price));
}

async function startPlan(alias) {
  try { await ask("/api/dry-run", { alias }); } catch (error) { show(byId("plan"), h("p", { class: "bad" }, error.message)); }
}

function plan() {
  byId("plan-section").hidden = !state.setup.can_plan;
  if (!state.setup.can_plan) return;
  const run = state.dry_run;
  const names = (data("index")?.collections || []).slice(0, 12).map((found) => found.name);
  const buttons = names.map((name) => h("button", { type: "button", "data-key": `plan-${name}`, disabled: run?.is_running, on: { click: () => startPlan(name) } }, "Plan a sync of ", named(name, 40)));
  const said = [];
  if (run?.is_running) said.push(h("p", {}, "Planning a sync of ", named(run.alias), ", begun ", when(run.started), "."));
  else if (run?.error) said.push(h("p", { class: "bad" }, named(run.error, 600)));
  else if (run?.plan) {
    const it = run.plan;
    const rows = [["Documents", it.documents], ["Chunks", it.chunks], ["Chunks to embed", it.published_chunks], ["Tokens to embed", it.published_tokens], ["Jobs", it.jobs], ["Refused", it.refused], ["Documents to delete", it.changes?.deleted]];
    said.push(table({ text: `A sync of ${it.alias} would do this; nothing was changed.` }, [["What", ([what]) => what], ["Count", ([, n]) => count(n), { n: true }]], rows));
    if (it.refusal) said.push(h("p", { class: "bad" }, named(it.refusal, 600)));
  }
  show(byId("plan"), h("div", { class: "tools" }, buttons), said);
}

const PARTS = [["lanes", lanes, ["queue"]], ["aliases", aliases, ["index"]], ["workers", workers, ["workers"]], ["causes", causes, ["letters"]], ["work", work, ["runs"]], ["costs", costs, []], ["plan", plan, []]];
const drawn = {};

/// Draws what has changed.
function overview() {
  if (!state || byId("overview").hidden) return;
  answers();
  for (const [id, draw, of] of PARTS) {
    const now = JSON.stringify([of.map((part) => [state[part].data, state[part].error]), id === "lanes" ? past.times.at(-1) : 0, id === "costs" ? [hours(), speed()] : 0, id === "workers" && !state.setup.asks_workers ? lanesOf().map((lane) => lane.waiting_pulls) : 0, id === "plan" ? [state.dry_run, (data("index")?.collections || []).map((found) => found.name)] : 0]);
    if (drawn[id] === now) continue;
    drawn[id] = now;
    draw();
    byId(id).classList.toggle("old", of.some((part) => state[part].error !== null && state[part].data !== null));
  }
}
