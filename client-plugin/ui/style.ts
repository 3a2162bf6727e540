/**
 * The look of all elements: one style sheet, adopted by every shadow root. A host changes it through the `--ckv-*`
 * properties; light and dark follow the host's `color-scheme`. Text keeps a contrast of at least 4.5 to its ground.
 */
const CSS = `
:host {
  --bg: var(--ckv-bg, light-dark(#ffffff, #171b21));
  --ground: var(--ckv-ground, light-dark(#f3f5f8, #20262e));
  --text: var(--ckv-text, light-dark(#1a2028, #e8ecf1));
  --muted: var(--ckv-muted, light-dark(#525d6b, #a9b4c0));
  --line: var(--ckv-line, light-dark(#cdd4dd, #3a444f));
  --accent: var(--ckv-accent, light-dark(#1b57c4, #8cb4ff));
  --on-accent: var(--ckv-on-accent, light-dark(#ffffff, #0d1526));
  --good: var(--ckv-good, light-dark(#0a6236, #6fdaa0));
  --good-ground: var(--ckv-good-ground, light-dark(#e2f4ea, #12352a));
  --bad: var(--ckv-bad, light-dark(#a3161b, #ff9d98));
  --bad-ground: var(--ckv-bad-ground, light-dark(#fdeceb, #401a1c));
  --note: var(--ckv-note, light-dark(#6e4a00, #f3c566));
  --note-ground: var(--ckv-note-ground, light-dark(#fdf3dc, #382b10));
  --radius: var(--ckv-radius, 12px);
  color: var(--text);
  font: 400 0.9375rem/1.5 var(--ckv-font, system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif);
}
:host([hidden]) { display: none; }
*, *::before, *::after { box-sizing: border-box; }
h2, h3, p, ol, ul, dl, dd, figure { margin: 0; padding: 0; }
h2 { font-size: 1.0625rem; line-height: 1.3; font-weight: 650; text-wrap: balance; }
h3 { font-size: 0.9375rem; line-height: 1.35; font-weight: 650; text-wrap: balance; }
p { text-wrap: pretty; }
.stack { display: grid; gap: 0.75rem; }
.muted { color: var(--muted); }
.small { font-size: 0.8125rem; line-height: 1.45; }
.row { display: flex; flex-wrap: wrap; gap: 0.5rem; align-items: center; }
.icon { width: 1.25em; height: 1.25em; flex: none; fill: none; stroke: currentColor; stroke-width: 1.8;
  stroke-linecap: round; stroke-linejoin: round; }
.unseen { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
button, .button { font: inherit; font-weight: 600; min-height: 2.5rem; padding: 0.375rem 1rem; border-radius: 10px;
  border: 1px solid var(--line); background: var(--bg); color: var(--text); cursor: pointer; text-decoration: none;
  display: inline-flex; align-items: center; justify-content: center; gap: 0.5rem; }
button:hover, .button:hover { border-color: var(--accent); }
button.primary { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
button.primary:hover { filter: brightness(1.08); }
button.danger { border-color: var(--bad); color: var(--bad); }
button[disabled] { opacity: 0.6; cursor: default; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
:focus:not(:focus-visible) { outline: none; }
input[type="text"] { font: inherit; width: 100%; min-height: 2.5rem; padding: 0.375rem 0.75rem; border-radius: 10px;
  border: 1px solid var(--muted); background: var(--bg); color: var(--text); }
input[type="checkbox"] { width: 1.125rem; height: 1.125rem; margin: 0.2rem 0 0; accent-color: var(--accent); flex: none; }
label.check { display: flex; gap: 0.5rem; align-items: flex-start; }
summary { cursor: pointer; font-weight: 600; padding: 0.25rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.25rem 0.75rem; }
dt { color: var(--muted); }
dd { overflow-wrap: anywhere; }
.code { font: 600 clamp(1.75rem, 12cqi, 2.75rem)/1.2 ui-monospace, "SFMono-Regular", "DejaVu Sans Mono", monospace;
  font-variant-numeric: tabular-nums; letter-spacing: 0.04em; text-align: center; white-space: nowrap;
  padding: 0.75rem 0.5rem; border-radius: var(--radius); background: var(--ground); }
.mono { font-family: ui-monospace, "SFMono-Regular", "DejaVu Sans Mono", monospace; }
.note { padding: 0.75rem; border-radius: var(--radius); display: flex; gap: 0.625rem; align-items: flex-start; }
.note.good { background: var(--good-ground); color: var(--good); }
.note.bad { background: var(--bad-ground); color: var(--bad); }
.note.plain { background: var(--ground); }
.container { container-type: inline-size; }
.dots::after { content: ""; display: inline-block; width: 1.2em; text-align: left; animation: dots 1.5s steps(4) infinite; }
@keyframes dots { 0% { content: ""; } 25% { content: "."; } 50% { content: ".."; } 75% { content: "..."; } }
@media (prefers-reduced-motion: reduce) { *, *::before, *::after { animation: none !important; transition: none !important; } }
@media (forced-colors: active) { .icon { stroke: CanvasText; } }
`;

let sheet: CSSStyleSheet | undefined;

/** The style sheet, made once. */
export function styleSheet(): CSSStyleSheet {
  if (sheet === undefined) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
  }
  return sheet;
}

/** A style sheet of one element's own. */
export function ownStyleSheet(css: string): CSSStyleSheet {
  const own = new CSSStyleSheet();
  own.replaceSync(css);
  return own;
}
