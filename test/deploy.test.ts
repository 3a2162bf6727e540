import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { createMetrics, type Readings } from "../appservice/metrics.ts";

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly runbook: string };
}
interface Panel {
  readonly title: string;
  readonly targets: readonly { readonly expr: string }[];
}

const read = (file: string): string => readFileSync(file, "utf8");
const { groups } = parse(read("deploy/alerts.yml")) as {
  readonly groups: readonly { readonly rules: readonly Rule[] }[];
};
const rules = groups.flatMap((group) => group.rules);
const { panels } = JSON.parse(read("deploy/grafana-dashboard.json")) as { readonly panels: readonly Panel[] };
const runbook = read("docs/runbook.md");
const headings = [...runbook.matchAll(/^## (.+)$/gm)].map(([, heading = ""]) => heading);

/** Names of metrics in an expression: words that stand where PromQL has a metric. */
function metricsOf(expr: string): readonly string[] {
  const words = expr
    .replace(/\{[^}]*\}|\[[^\]]*\]|\b(by|without) ?\([^)]*\)/g, " ")
    .match(/(?<![\w.])[a-z_][a-z0-9_]*(?!\w|\s*\()/g);
  return (words ?? []).filter((word) => !["or", "and", "unless", "up"].includes(word));
}

describe("deploy", () => {
  /** Every series the service really exposes. */
  const series = new Set<string>();

  before(async () => {
    const readings = new Proxy({}, { get: () => () => 1 }) as Readings;
    const metrics = createMetrics(readings);
    metrics.answered("/v1/lookup", 200, 0.1);
    metrics.merged(1);
    const { text } = await metrics.scrape();
    for (const line of text.split("\n").filter((line) => line !== "" && !line.startsWith("#"))) {
      series.add(/^[a-zA-Z_:][a-zA-Z0-9_:]*/.exec(line)?.[0] ?? "");
    }
  });

  it("the dashboard shows metrics that exist", () => {
    assert.ok(panels.length > 0);
    for (const { title, targets } of panels) {
      const names = targets.flatMap(({ expr }) => metricsOf(expr));
      assert.ok(names.length > 0, title);
      for (const name of names) assert.ok(series.has(name), `${title}: ${name}`);
    }
  });

  it("alarms rest on metrics that exist, and one fires always", () => {
    for (const { alert, expr } of rules) {
      for (const name of metricsOf(expr)) assert.ok(series.has(name), `${alert}: ${name}`);
    }
    assert.equal(rules.find(({ alert }) => alert === "CkvDeadMan")?.expr, "vector(1)");
    assert.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length);
  });

  it("every alarm has its section in the runbook, and says how grave it is", () => {
    for (const { alert, labels, annotations } of rules) {
      assert.ok(headings.includes(alert), alert);
      assert.equal(annotations.runbook, `docs/runbook.md#${alert.toLowerCase()}`);
      assert.ok(["page", "ticket", "none"].includes(labels.severity), alert);
    }
    const known = new Set([...rules.map(({ alert }) => alert), "Metrics"]);
    assert.deepEqual(
      headings.filter((heading) => !known.has(heading)),
      [],
    );
  });

  it("the runbook lists every metric of the service, and links only to what it has", () => {
    const own = [...series]
      .filter((name) => name.startsWith("ckv_"))
      .map((name) => name.replace(/_(bucket|sum|count)$/, ""));
    const listed = [...runbook.matchAll(/^\| `(ckv_\w+)`/gm)].map(([, name]) => name);
    assert.deepEqual([...listed].sort(), [...new Set(own)].sort());
    const anchors = new Set(headings.map((heading) => heading.toLowerCase()));
    for (const [, anchor = ""] of runbook.matchAll(/\]\(#([^)]+)\)/g)) assert.ok(anchors.has(anchor), anchor);
  });

  it("the unit does not start again what another start cannot mend", () => {
    const unit = read("deploy/matrix-ckv.service");
    assert.match(unit, /^Restart=on-failure$/m);
    assert.match(unit, /^RestartPreventExitStatus=70 78$/m);
    assert.match(unit, /^StartLimitIntervalSec=0$/m);
  });
});
