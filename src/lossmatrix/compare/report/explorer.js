// SPDX-License-Identifier: BSD-3-Clause
// The explorer: at other costs, what is decided and what that costs.
//
// Decisions are those of lossmatrix.decide: argmin_j Σ_i p_i D_ij over the stored probabilities, in
// double precision, ties to the lowest index. Abstaining is one more decision, after all others.
"use strict";
if (document.getElementById("explorer-data")) {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const element = (id) => document.getElementById(id);

  // --- what the page stores ----------------------------------------------------------------------

  const bytes = (text) => Uint8Array.from(atob(text), (byte) => byte.charCodeAt(0)).buffer;
  const target = new Int32Array(bytes(data.target));
  const weight = new Float64Array(bytes(data.weight));
  const models = data.models.map((model) => ({
    numbers: new Float32Array(bytes(model.numbers)), // probabilities (N, C), or risks (N, K)
    likeliest: new Int32Array(bytes(model.likeliest)),
  }));
  const editable = data.costs !== null; // else each row has its costs: (N, K) for its truth
  const rowCosts = editable ? null : new Float32Array(bytes(data.row_costs));
  const [N, C, K] = [target.length, data.classes.length, data.decisions.length];
  const NEVER = Infinity; // the cost of abstaining where it is not offered

  // The table: each entry names one of its different values, in bits of which the highest is first.
  const tableOf = ({ values, bits, places }) => {
    const packed = new Uint8Array(bytes(places));
    const costAt = (entry) => {
      let place = 0;
      for (let at = entry * bits; at < (entry + 1) * bits; at++) {
        place = 2 * place + ((packed[at >> 3] >> (7 - (at % 8))) & 1);
      }
      return values[place] ?? Infinity;
    };
    return Array.from({ length: C }, (_, i) => Array.from({ length: K }, (_, j) => costAt(i * K + j)));
  };
  const storedTable = editable && tableOf(data.costs);
  const stored = { table: storedTable, abstain: NEVER };

  // --- what the reader changes -------------------------------------------------------------------

  const copy = (costs) => ({ ...costs, table: editable && costs.table.map((row) => [...row]) });
  let costs = copy(stored);
  let model = models[0];
  let risks; // for every decision, what it is expected to cost on each row
  let old; // the decisions at the stored costs, and what they cost

  // --- arithmetic --------------------------------------------------------------------------------

  // What decision j is expected to cost on each row: Σ_i p_i D_ij, where 0 · ∞ = 0.
  const riskOf = (j, { table }) => {
    const { numbers } = model;
    if (!editable) return Float64Array.from({ length: N }, (_, row) => numbers[row * K + j]);
    const risk = new Float64Array(N);
    const column = Float64Array.from(table, (row) => row[j]);
    for (let row = 0, place = 0; row < N; row++) {
      let sum = 0;
      for (let i = 0; i < C; i++, place++) {
        if (numbers[place] > 0) sum += numbers[place] * column[i];
      }
      risk[row] = sum;
    }
    return risk;
  };

  // The cheapest decision of each row, and what it is expected to cost.
  const decide = (abstain) => {
    const least = Float64Array.from(risks[0]);
    const decisions = new Int32Array(N);
    for (let j = 1; j < K; j++) {
      const risk = risks[j];
      for (let row = 0; row < N; row++) {
        if (risk[row] < least[row]) [least[row], decisions[row]] = [risk[row], j];
      }
    }
    for (let row = 0; row < N; row++) if (abstain < least[row]) decisions[row] = K;
    return { least, decisions };
  };

  // What decisions cost: in all, by decision, by truth, and by pair of both.
  const account = (decisions, { table, abstain }) => {
    const sums = {
      weight: 0,
      cost: 0,
      byDecision: new Float64Array(K + 1),
      byTruth: new Float64Array(C),
      costByTruth: new Float64Array(C),
      byPair: new Float64Array(C * (K + 1)),
      costByPair: new Float64Array(C * (K + 1)),
    };
    for (let row = 0; row < N; row++) {
      const [i, j, w] = [target[row], decisions[row], weight[row]];
      const cost = w * (j === K ? abstain : editable ? table[i][j] : rowCosts[row * K + j]);
      const pair = i * (K + 1) + j;
      sums.weight += w;
      sums.cost += cost;
      sums.byDecision[j] += w;
      sums.byTruth[i] += w;
      sums.costByTruth[i] += cost;
      sums.byPair[pair] += w;
      sums.costByPair[pair] += cost;
    }
    return sums;
  };

  // --- words -------------------------------------------------------------------------------------

  const grouped = (x) => x.toLocaleString("en-US", { maximumFractionDigits: 1 });
  const format = (x) => {
    if (Number.isNaN(x)) return "–";
    return Math.abs(x) >= 999.95 ? Math.round(x).toLocaleString("en-US") : x.toPrecision(4);
  };
  const percent = (share) => `${(100 * share).toFixed(1)}%`;
  const nameOf = (pair) => {
    const [i, j] = [Math.floor(pair / (K + 1)), pair % (K + 1)];
    return `${data.classes[i]} → ${data.decisions[j] ?? data.abstain}`;
  };

  // --- the tables --------------------------------------------------------------------------------

  const linesOf = (id) => [...element(id).tBodies[0].rows].map((row) => [...row.cells].slice(1));
  const decisionLines = linesOf("decisions");
  const classLines = linesOf("by-class");
  const pairLines = [...element("pairs").tBodies[0].rows];
  const cells = [...document.querySelectorAll(".editor td")].map((cell) => ({
    cell,
    pair: Number(cell.dataset.truth) * (K + 1) + Number(cell.dataset.decision),
    count: cell.querySelector(".count"),
    input: cell.querySelector("input"),
  }));

  const write = (cell, text, before) => {
    cell.textContent = text;
    cell.classList.toggle("changed", before !== undefined && before !== text);
  };

  const showDecisions = (sums) => {
    decisionLines.forEach(([before, now], j) => {
      write(before, grouped(old.sums.byDecision[j]));
      write(now, grouped(sums.byDecision[j]), before.textContent);
    });
  };

  const showClasses = (sums) => {
    classLines.forEach(([count, before, now], i) => {
      write(count, grouped(sums.byTruth[i]));
      write(before, format(old.sums.costByTruth[i] / sums.byTruth[i]));
      write(now, format(sums.costByTruth[i] / sums.byTruth[i]), before.textContent);
    });
  };

  const showPairs = ({ byPair, costByPair, cost }) => {
    const costly = [...costByPair.keys()].filter((pair) => costByPair[pair] > 0);
    costly.sort((a, b) => costByPair[b] - costByPair[a] || a - b);
    pairLines.forEach((line, place) => {
      line.hidden = place >= costly.length;
      if (line.hidden) return;
      const pair = costly[place];
      const [name, count, total, share] = line.cells;
      write(name, nameOf(pair));
      write(count, grouped(byPair[pair]));
      write(total, format(costByPair[pair]));
      write(share.firstElementChild, percent(costByPair[pair] / cost));
      share.firstElementChild.style.setProperty("--share", costByPair[pair] / cost);
    });
  };

  const showMatrix = ({ byPair, costByPair }) => {
    const top = Math.max(...costByPair);
    for (const { cell, pair, count } of cells) {
      write(count, byPair[pair] ? grouped(byPair[pair]) : "·");
      cell.style.setProperty("--share", top > 0 ? Math.max(costByPair[pair], 0) / top : 0);
    }
  };

  const showFigures = (sums, decisions) => {
    const [abstained, average] = [sums.byDecision[K], ({ cost, weight }) => format(cost / weight)];
    const fees = abstained ? abstained * costs.abstain : 0;
    const changed = weight.reduce((w, each, row) => w + (decisions[row] !== old.decisions[row] && each), 0);
    const texts = {
      "by-cost": average(sums),
      "by-stored-cost": average(old.sums),
      "by-likeliest": average(account(model.likeliest, costs)),
      "by-old": average(account(old.decisions, costs)),
      abstained: percent(abstained / sums.weight),
      rest: format((sums.cost - fees) / (sums.weight - abstained)),
      total: format(sums.cost),
      status:
        `At these costs ${grouped(changed)} of ${grouped(sums.weight)} rows are decided otherwise ` +
        `than at the stored ones, ${percent(abstained / sums.weight)} abstained; ` +
        `a decision costs ${average(sums)} on average.`,
    };
    for (const [id, text] of Object.entries(texts)) element(id).textContent = text;
    return texts;
  };

  // --- the form ----------------------------------------------------------------------------------

  const [offer, range] = [element("abstain"), element("abstain-range")];
  let highest; // expected cost: abstaining at this cost or above is never worth it

  // Squares give small costs, at which most rows turn, more room on the slider.
  const costAt = (position) => (position >= 1 ? NEVER : highest * position ** 2);
  const positionOf = (cost) => Math.sqrt(Math.min(Math.max(cost / highest, 0), 1));

  const update = () => {
    const { least, decisions } = decide(costs.abstain);
    highest = least.reduce((most, each) => Math.max(most, each), 0) || 1;
    range.value = positionOf(costs.abstain);
    const sums = account(decisions, costs);
    showDecisions(sums);
    showClasses(sums);
    showPairs(sums);
    showMatrix(sums);
    const { abstained } = showFigures(sums, decisions);
    const offered = costs.abstain === NEVER ? "not offered" : format(costs.abstain);
    range.setAttribute("aria-valuetext", `${offered}, ${abstained} abstained`);
  };

  const predict = (costs) => {
    risks = data.decisions.map((_, j) => riskOf(j, costs));
  };

  // Another model: what it decides at the stored costs, then at those in force.
  const begin = () => {
    predict(stored);
    const { decisions } = decide(NEVER);
    old = { decisions, sums: account(decisions, stored) };
    predict(costs);
    update();
  };

  const setCost = (i, j, input) => {
    if (!input.validity.valid) return; // a number that is being typed: the style sheet marks it
    costs.table[i][j] = input.valueAsNumber;
    input.classList.toggle("changed", costs.table[i][j] !== stored.table[i][j]);
    risks[j] = riskOf(j, costs);
    update();
  };

  for (const { pair, input } of cells) {
    const [i, j] = [Math.floor(pair / (K + 1)), pair % (K + 1)];
    input?.addEventListener("input", () => setCost(i, j, input));
  }

  const [truth, decision, cost] = [element("truth"), element("decision"), element("cost")];
  const showCost = () => {
    const [i, j] = [truth.value, decision.value];
    cost.value = costs.table[i][j];
    cost.disabled = costs.table[i][j] === Infinity;
    cost.classList.toggle("changed", costs.table[i][j] !== stored.table[i][j]);
  };
  if (cost) {
    truth.addEventListener("change", showCost);
    decision.addEventListener("change", showCost);
    cost.addEventListener("input", () => setCost(truth.value, decision.value, cost));
    showCost();
  }

  offer.addEventListener("input", () => {
    if (!offer.validity.valid) return;
    costs.abstain = offer.value === "" ? NEVER : offer.valueAsNumber;
    update();
  });
  range.addEventListener("input", () => {
    costs.abstain = costAt(range.valueAsNumber);
    offer.value = costs.abstain === NEVER ? "" : Number(costs.abstain.toPrecision(3));
    update();
  });

  element("model").addEventListener("change", ({ target }) => {
    model = models[target.value];
    begin();
  });

  element("costs-form").addEventListener("submit", (event) => event.preventDefault());
  element("costs-form").addEventListener("reset", (event) => {
    event.preventDefault(); // the model stays chosen
    costs = copy(stored);
    for (const { pair, input } of cells) {
      if (!input) continue;
      input.value = input.defaultValue;
      input.classList.remove("changed");
    }
    if (cost) showCost();
    offer.value = "";
    predict(costs);
    update();
  });

  // The table as lossmatrix reads it, with a column for abstaining where that is offered.
  const csv = () => {
    const offered = costs.abstain !== NEVER;
    const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const number = (value) => (value === Infinity ? "inf" : String(value));
    const head = ["true\\pred", ...data.decisions, ...(offered ? [data.abstain] : [])];
    const rows = costs.table.map((row, i) => [
      data.classes[i],
      ...row.map(number),
      ...(offered ? [number(costs.abstain)] : []),
    ]);
    return [head, ...rows].map((row) => `${row.map(quoted).join(",")}\n`).join("");
  };
  element("save")?.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = "costs.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });

  begin();
}
