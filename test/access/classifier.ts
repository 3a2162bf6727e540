/**
 * How well a threshold tells samples of one kind from those of another: the area under the ROC curve (Mann and Whitney's
 * U), of the better of both directions. 0.5 is guessing, 1 is certainty.
 */
export function areaUnderCurve(ones: readonly number[], others: readonly number[]): number {
  const all = [...ones.map((value) => ({ value, one: 1 })), ...others.map((value) => ({ value, one: 0 }))];
  all.sort((a, b) => a.value - b.value);
  let ranks = 0;
  for (let start = 0; start < all.length;) {
    let [end, tied] = [start, 0];
    for (; end < all.length && all[end]?.value === all[start]?.value; end++) tied += all[end]?.one ?? 0;
    // Equal values share the mean of their ranks, which count from 1.
    ranks += (tied * (start + 1 + end)) / 2;
    start = end;
  }
  const u = ranks - (ones.length * (ones.length + 1)) / 2;
  const area = u / (ones.length * others.length);
  return Math.max(area, 1 - area);
}
