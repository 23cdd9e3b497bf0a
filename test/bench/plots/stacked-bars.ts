/** Bars that are made of parts, one below the other. Pure. */
import { element, line, palette, picture, round, text, ticks } from './svg.ts';

export interface Bar {
  readonly label: string;
  readonly parts: readonly { readonly name: string; readonly value: number }[];
}

const width = 900;
const left = 110;
const right = 30;
const barHeight = 44;
const barGap = 26;
const top = 56;
const legendLine = 22;
const legendColumns = 4;

/** Parts of one name have one colour in all bars; the legend tells the value of each, bar by bar. */
export function stackedBars(title: string, unit: string, bars: readonly Bar[]): string {
  const names = [...new Set(bars.flatMap(({ parts }) => parts.map(({ name }) => name)))];
  const colour = (name: string): string => palette[names.indexOf(name) % palette.length] ?? '#000000';
  const totals = bars.map(({ parts }) => parts.reduce((sum, { value }) => sum + value, 0));
  const marks = ticks(Math.max(...totals, 1));
  const scale = (value: number): number => left + (value / (marks.at(-1) ?? 1)) * (width - left - right);
  const bottom = top + bars.length * (barHeight + barGap);
  const content = marks.flatMap((mark) => [
    line([scale(mark), top - 8], [scale(mark), bottom]),
    text(scale(mark), bottom + 18, `${mark} ${unit}`, { 'text-anchor': 'middle', 'font-size': 11 }),
  ]);
  for (const [index, bar] of bars.entries()) {
    content.push(...barOf(bar, top + index * (barHeight + barGap), { scale, colour, total: totals[index] ?? 0, unit }));
  }
  const legendTop = bottom + 44;
  content.push(...names.flatMap((name, index) => legendEntry(name, colour(name), index, legendTop)));
  const height = legendTop + Math.ceil(names.length / legendColumns) * legendLine + 8;
  return picture({ width, height }, title, content);
}

interface Look {
  readonly scale: (value: number) => number;
  readonly colour: (name: string) => string;
  readonly total: number;
  readonly unit: string;
}

function barOf({ label, parts }: Bar, y: number, { scale, colour, total, unit }: Look): string[] {
  const drawn = [text(left - 8, y + barHeight / 2 + 5, label, { 'text-anchor': 'end' })];
  let at = 0;
  for (const { name, value } of parts) {
    const [from, to] = [scale(at), scale(at + value)];
    const box = { x: round(from), y, width: round(to - from), height: barHeight, fill: colour(name) };
    drawn.push(element('rect', box, [element('title', {}, [`${name}: ${round(value)} ${unit}`])]));
    at += value;
    if (to - from > 42) {
      const middle = (from + to) / 2;
      const style = { 'text-anchor': 'middle', 'font-size': 11, fill: '#ffffff' };
      drawn.push(text(middle, y + barHeight / 2 + 4, value.toFixed(0), style));
    }
  }
  drawn.push(text(left, y + barHeight + 14, `${label}: ${total.toFixed(0)} ${unit} in all`, { 'font-size': 11 }));
  return drawn;
}

function legendEntry(name: string, colour: string, index: number, top: number): string[] {
  const x = 24 + (index % legendColumns) * ((width - 48) / legendColumns);
  const y = top + Math.floor(index / legendColumns) * legendLine;
  return [element('rect', { x, y: y - 11, width: 13, height: 13, fill: colour }), text(x + 19, y, name)];
}
