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
const MADE_OF = { Waiting: ["queue"], "Done in": ["queue"], Failed: ["letters", "runs"], Index: ["index", "queue", "letters", "runs"], Cost: ["queue"] };

function answer(title, ...said) {
  const parts = MADE_OF[title].map((name) => state?.[name]).filter((part) => part && part.error !== null && part.data !== null);
  const times = parts.map((part) => part.at).filter(Boolean);
  return h("div", { class: parts.length ? "old" : null }, h("dt", {}, title, times.length ? [", seen ", when(Math.min(...times))] : null), said);
}

const note = (...text) => h("dd", { class: "note" }, text);

function answers() {
  show(byId("answers"), waiting(), doneIn(), failed(), indexed(), cost());
}

function waiting() {
  const queue = data("queue");
  if (!queue) return answer("Waiting", figure("?"), note(unseen("queue")));
  const pending = sum(queue.lanes, (lane) => lane.pending);
  const flight = sum(queue.lanes, (lane) => lane.ack_pending);
  const told = tokensThatWait();
  const orphans = queue.orphaned.jobs;
  return answer("Waiting", figure(count(pending), "", pending === 1 ? "job" : "jobs"),
    note(`and ${count(flight)} in flight; ${told === null ? "? tokens" : `${told.mark}${about(told.tokens)} tokens`} in both`,
      orphans ? h("span", { class: "bad" }, `; ${many(orphans, "job")} that no consumer reads`) : null));
}

/// Tokens of the jobs that are not done: those that are known; `null` where none are, and where nobody has seen the jobs.
function tokensThatWait() {
  if (!data("queue")) return null;
  let tokens = 0, isEstimate = false, isLeast = false;
  for (const lane of lanesOf()) {
    if (lane.lag === 0) continue;
    if (!lane.lag_tokens) { isLeast = true; continue; }
    tokens += lane.lag_tokens.tokens;
    isEstimate = isEstimate || lane.lag_tokens.estimate;
  }
  if (isLeast && tokens === 0) return null;
  return { tokens, isLeast, mark: isLeast ? "≥ " : isEstimate ? "≈ " : "" };
}

function doneIn() {
  const queue = data("queue");
  if (!queue) return answer("Done in", figure("?"), note(unseen("queue")));
  const lag = sum(queue.lanes, (lane) => lane.lag);
  if (lag === 0) return answer("Done in", figure("Done", "good"), note("nothing waits"));
  const rate = queue.rate;
  if (!rate) return answer("Done in", figure("…"), note("the rate takes two looks"));
  if (rate.stalled_seconds !== null) return answer("Done in", ...standstill(rate.stalled_seconds));
  if (rate.eta_seconds === null) return answer("Done in", figure("Measuring"), note(`too few jobs were done in ${span(rate.measured_seconds)} to tell`));
  const tokens = rate.tokens_per_second === null ? "" : `, ≈ ${about(rate.tokens_per_second)} tokens/s`;
  return answer("Done in", figure(span(rate.eta_seconds)), note(`at ${perSecond(rate.acked_per_second)} jobs/s${tokens}`));
}

/// What stands still, and since when: the models that have jobs and do none of them. A lane that waits while the other one of
/// its model moves does not count.
function standstill(longest) {
  const known = lanesOf().filter((lane) => lane.rate);
  const moving = known.filter((lane) => (lane.lag > 0 ? lane.rate.stalled_seconds === null : lane.rate.acked_per_second > 0));
  const lanes = known.filter((lane) => lane.lag > 0 && !moving.some((other) => other.task === lane.task && other.model === lane.model));
  const models = [...new Set(lanes.map((lane) => lane.model))].join(", ");
  const flight = sum(lanes, (lane) => lane.ack_pending);
  const why = !lanes.length ? "no job of one model was done" : flight ? `${many(flight, "job")} in flight, and none was done` : "no worker takes a job";
  const seconds = lanes.length ? Math.min(...lanes.map((lane) => lane.rate.stalled_seconds)) : longest;
  return [figure(moving.length ? "Not all moves" : "Not moving", "warn"), note(models ? [named(models, 60), ": "] : "", `${why} for ${span(seconds)}`)];
}

/// Runs that a gate has stopped and nobody has ended.
const stoppedRuns = () => (data("runs")?.shown || []).filter((run) => run.failed && !run.over);

function failed() {
  const letters = data("letters");
  const stopped = stoppedRuns();
  // What has failed is said, whatever else cannot be seen; that nothing has is said where all is.
  if (!letters) return answer("Failed", figure("?"), note(unseen("letters")));
  if (letters.total === 0 && !data("runs")) return answer("Failed", figure("?"), note(unseen("runs")));
  const runs = stopped.length ? h("a", { href: stopped.length === 1 ? runLink(stopped[0]) : "#/runs", "data-key": "stopped" }, `${many(stopped.length, "run")} stopped by a gate`) : null;
  if (letters.total === 0 && !runs) return answer("Failed", figure("Nothing", "good"), note("no dead letter, no stopped run"));
  if (letters.total === 0) return answer("Failed", figure(count(stopped.length), "bad", stopped.length === 1 ? "run" : "runs"), note(runs, ": ", named(stopped[0].failed, 80)));
  const causes = Object.entries(letters.causes.counts).sort((a, b) => b[1] - a[1]);
  const first = causes.slice(0, 2).map(([cause, n]) => `${cause.slice(0, 40)} ${count(n)}`).join(", ");
  return answer("Failed", figure(count(letters.total), "bad", letters.total === 1 ? "dead letter" : "dead letters"),
    note(h("a", { href: "#/failed", "data-key": "failed" }, first || "see them"), runs ? ["; ", runs] : data("runs") ? "" : `; runs: ${unseen("runs")}`));
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
  const [letters, queue, runs] = ["letters", "queue", "runs"].map(data);
  if (unknown || !letters || !queue || !runs) return answer("Index", figure("Not known", "warn"), note(told));
  const waiting = sum(queue.lanes.filter((lane) => lane.task === "embed"), (lane) => lane.lag) + queue.orphaned.jobs;
  const stopped = stoppedRuns().length;
  const but = [
    letters.total ? `${many(letters.total, "dead letter")} may be missing from it` : "",
    waiting ? `${many(waiting, "job")} not written yet` : "",
    stopped ? `${many(stopped, "run")} stopped before its end` : "",
  ].filter(Boolean);
  if (but.length) return answer("Index", figure("Behind", "warn"), note(`${but.join("; ")}; ${told}, no vector missing`));
  return answer("Index", figure("Whole", "good"), note(`${told}, no vector missing, nothing waits or failed`));
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
  return { ahead, spent, mark: told && told.isLeast ? "≥" : "≈" };
}

function money(spent) {
  const price = state?.setup.price_per_hour;
  return spent === null || price === null || price === undefined ? null : spent * price;
}

const currency = () => (state?.setup.currency ? ` ${state.setup.currency}` : "");
const worth = (value) => `${value > 0 && value < 0.01 ? "< 0.01" : two.format(value)}${currency()}`;
const inHours = (value) => (value > 0 && value < 0.01 ? "< 0.01 h" : `${two.format(value)} h`);

/// What the work that waits costs, and nothing else: where that is not known, it says so.
function cost() {
  const { ahead, spent, mark } = hours();
  const price = money(ahead);
  const before = spent === null ? "" : `; workers ran for ${inHours(spent)} in the last hour`;
  if (!data("queue")) return answer("Cost", figure("?"), note(`${unseen("queue")}${before}`));
  if (ahead === 0) return answer("Cost", figure("Nothing", "good"), note(`nothing waits${before}`));
  if (price !== null) return answer("Cost", figure(`${mark} ${worth(price)}`), note(`for what waits: ${inHours(ahead)} of a worker${currency() ? "" : ", in the unit of --price-per-hour"}`));
  if (ahead !== null) return answer("Cost", figure(`${mark} ${inHours(ahead)}`, "", "of a worker"), note("for what waits; a price by --price-per-hour"));
  const why = tokensThatWait() === null ? "the jobs that wait do not tell their tokens" : "for that the speed of a worker is needed: give --tokens-per-second, or --workers to measure it";
  return answer("Cost", figure("Not known"), note(`${why}${before}`));
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
    ["Lane", (lane) => [named(lane.model, 60), unit(lane.task === "embed" ? lane.lane : `${lane.lane}, ${lane.task}`, lane.lane === "live" ? "taken first" : "taken when no live job waits")]],
    ["Waiting", (lane) => counted(lane.pending, "job"), { n: true }],
    ["In flight", (lane) => counted(lane.ack_pending, "job"), { n: true }],
    ["Tokens", (lane) => (lane.lag_tokens ? `${lane.lag_tokens.estimate ? "≈ " : ""}${about(lane.lag_tokens.tokens)}` : "?"), { n: true }],
    ["Rate", (lane) => (lane.rate ? [perSecond(lane.rate.acked_per_second), unit("jobs/s")] : "…"), { n: true }],
    ["Tokens/s", (lane) => (lane.rate && lane.rate.tokens_per_second !== null ? `≈ ${about(lane.rate.tokens_per_second)}` : ""), { n: true }],
    ["Time left", (lane) => timeLeft(lane, rows), { n: true }],
    ["Idle workers", (lane) => count(lane.waiting_pulls), { n: true }],
    ["Last hour", (lane) => curve(past.times, past.lanes[lane.consumer]?.lag || [], `jobs on ${lane.consumer}`)],
  ], rows);
  const more = queue.more_lanes ? h("p", { class: "note" }, `${many(queue.more_lanes, "more lane")}; indexer status shows all`) : null;
  const orphans = queue.orphaned.subjects.slice(0, 5).map((found) =>
    h("p", { class: "bad" }, named(found.subject), `: ${many(found.jobs, "job")} that no consumer reads; indexer provision with that model makes one`));
  show(byId("lanes"), made, more, orphans);
}

function timeLeft(lane, lanes) {
  if (lane.lag === 0) return "";
  if (!lane.rate) return "…";
  const goesFirst = (other) => other.model === lane.model && other.task === lane.task && other.lane === "live" && other.lag > 0;
  if (lane.rate.stalled_seconds !== null && lane.lane === "bulk" && lanes.some(goesFirst)) return h("span", { title: "live jobs go first" }, "after live");
  if (lane.rate.stalled_seconds !== null) return h("span", { class: "warn" }, "not moving");
  return lane.rate.eta_seconds === null ? h("span", { title: "too few jobs were done to tell" }, "measuring") : span(lane.rate.eta_seconds);
}

function aliases() {
  const index = data("index");
  if (!index) return show(byId("aliases"), h("p", { class: "note" }, unseen("index")));
  const rows = index.collections;
  const parts = rows.length ? table({ unseen: "Aliases" }, [
    ["Alias", (found) => [named(found.name, 60), " ", h("span", { class: "unit" }, named(found.model || "", 60))]],
    ["Points", (found) => (found.points === null ? h("span", { class: "warn" }, "?") : count(found.points)), { n: true }],
    ["Vectors", (found) => wholeness(found)],
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
  if (found.health === "yellow") return h("span", { class: "warn" }, "all there; Qdrant builds its index");
  if (found.health === "red") return h("span", { class: "bad" }, "Qdrant reports a failure");
  return h("span", { class: "good" }, "all there");
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
    return show(place, h("p", {}, pulls ? `At least ${many(pulls, "idle worker")}.` : "No idle worker is seen: all are busy, or there is none."), h("p", { class: "note" }, "Start the page with --workers HOST:PORT to see what each does."));
  }
  if (!found) return show(place, h("p", { class: "note" }, unseen("workers")));
  const made = found.workers.length ? table({ unseen: "Workers" }, [
    ["Worker", (worker) => [named(worker.address, 60), unit(worker.model)]],
    ["In flight", (worker) => counted(worker.in_flight, "job"), { n: true }],
    ["Device busy", (worker) => (worker.busy === null ? "…" : [bar(worker.busy), ` ${whole.format(worker.busy * 100)} %`]), { n: true }],
    ["Tokens/s", (worker) => about(worker.tokens_per_second), { n: true }],
    ["Done", (worker) => counted(worker.acked, "job"), { n: true }],
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
  if (run.failed) return [h("span", { class: "bad" }, "stopped by a gate"), unit(`after: ${run.phase.replaceAll("_", " ")}`)];
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
    ["Process at work", (run) => (run.over ? "" : run.owner ? `${run.owner.process} on ${run.owner.host}` : h("span", { class: "warn" }, "none"))],
  ], runs.shown.slice(0, 8));
  show(place, made, h("p", { class: "note" }, h("a", { href: "#/runs", "data-key": "all-runs" }, `All ${many(runs.count, "run")}`)));
}

function costs() {
  const { ahead, spent, mark } = hours();
  const rate = speed();
  const priced = (value) => { const price = money(value); return price === null ? "" : worth(price); };
  const rows = [["What waits", ahead, `${mark === "≥" ? "at least, because some jobs do not tell their tokens" : "an estimate"}: tokens that wait by tokens a second of one worker`], ["The last hour", spent, "workers that answered, while this page ran"]];
  const made = table({ unseen: "Costs" }, [
    ["For", ([what]) => what],
    ["Worker hours", ([, value]) => (value === null ? "?" : inHours(value)), { n: true }],
    ["Price", ([, value]) => priced(value), { n: true }],
    ["How it is known", ([, , how]) => h("span", { class: "note" }, how)],
  ], rows);
  const how = rate ? `One worker embeds ≈ ${about(rate)} tokens a second.` : "How fast a worker is, is not known: give --tokens-per-second, or --workers.";
  const price = state.setup.price_per_hour === null ? " Give --price-per-hour for prices." : ` An hour of a worker costs ${worth(state.setup.price_per_hour)}${currency() ? "" : "; --currency names the unit"}.`;
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
