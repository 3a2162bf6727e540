/** Building DOM without markup in strings: whatever comes from outside can only ever be text. */

export type Child = Node | string | undefined | false;
type Attribute = string | boolean | undefined | ((event: Event) => void);

/** An element. A function under a name `onX` listens to event `x`; `true` sets an empty attribute, `false` none. */
export function h<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Readonly<Record<string, Attribute>> = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(attribute.slice(2).toLowerCase(), value);
    else if (value === true) element.setAttribute(attribute, "");
    else if (typeof value === "string") element.setAttribute(attribute, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** A drawing of one path, decorative: its meaning always stands beside it in words. */
export function drawing(size: number, path: string, className: string): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${String(size)} ${String(size)}`);
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", className);
  const shape = document.createElementNS(SVG, "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}

/** Icons on a 24-unit grid, drawn with strokes; each has its own outline, so that none is told by colour alone. */
const ICONS = {
  shieldCheck: "M12 3 5 6v5c0 4.6 2.9 8 7 10 4.1-2 7-5.4 7-10V6zM9 12l2.2 2.2L15.5 10",
  record: "M7 3h7l4 4v14H7zM14 3v4h4M10 14l1.8 1.8L15 12.5",
  circle: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17M8 12h8",
  clock: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17M12 7.5V12l3 2",
  triangle: "M12 4 2.8 20h18.4zM12 10v4.5M12 17.2v.3",
  info: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17M12 11v5.2M12 7.8v.3",
  key: "M8 11a4 4 0 1 0 0 8 4 4 0 0 0 0-8m2.9 1.2L19 4m-3 3 3 3",
} as const;
export type IconName = keyof typeof ICONS;

export function icon(name: IconName): SVGSVGElement {
  return drawing(24, ICONS[name], "icon");
}
