/** SVG by hand: elements as text, and the numbers of an axis. Pure. */

export const palette = [
  '#3366aa',
  '#ee7733',
  '#228833',
  '#aa3377',
  '#66ccee',
  '#bbaa33',
  '#777777',
  '#004488',
  '#cc3311',
  '#44aa99',
  '#882255',
  '#999933',
  '#332288',
  '#cc6677',
  '#117733',
  '#ddcc77',
];
export const ink = '#222222';
export const faint = '#dddddd';

type Attributes = Readonly<Record<string, string | number>>;

/** One element; text in it is escaped, elements in it are not. */
export function element(name: string, attributes: Attributes, content: readonly string[] = []): string {
  const written = Object.entries(attributes).map(([key, value]) => ` ${key}="${escaped(String(value))}"`);
  return `<${name}${written.join('')}>${content.join('')}</${name}>`;
}

export function text(x: number, y: number, content: string, attributes: Attributes = {}): string {
  return element('text', { x: round(x), y: round(y), fill: ink, ...attributes }, [escaped(content)]);
}

export function line(
  from: readonly [number, number],
  to: readonly [number, number],
  attributes: Attributes = {},
): string {
  const [x1, y1, x2, y2] = [...from, ...to].map(round);
  return element('line', { x1: x1 ?? 0, y1: y1 ?? 0, x2: x2 ?? 0, y2: y2 ?? 0, stroke: faint, ...attributes });
}

/** A whole picture with a white ground and a heading. */
export function picture(size: { width: number; height: number }, title: string, content: readonly string[]): string {
  const { width, height } = size;
  const attributes = {
    xmlns: 'http://www.w3.org/2000/svg',
    viewBox: `0 0 ${width} ${height}`,
    width,
    height,
    'font-family': 'DejaVu Sans, Helvetica, Arial, sans-serif',
    'font-size': 13,
  };
  const ground = element('rect', { width, height, fill: '#ffffff' });
  const heading = text(16, 26, title, { 'font-size': 17, 'font-weight': 'bold' });
  return `${element('svg', attributes, [element('title', {}, [escaped(title)]), ground, heading, ...content])}\n`;
}

/** Round numbers from 0 to at least `max`: 1, 2 or 5 times a power of ten apart, at most nine. */
export function ticks(max: number): number[] {
  if (!(max > 0)) return [0, 1];
  const rough = max / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  return Array.from({ length: Math.ceil(max / step - 1e-9) + 1 }, (_, index) => index * step);
}

export function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escaped(value: string): string {
  const names: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
  return value.replaceAll(/[&<>"]/g, (found) => names[found] ?? '');
}
