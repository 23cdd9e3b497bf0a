/** Values by a whole number, a line for each series. Pure. */
import { element, ink, line, palette, picture, round, text, ticks } from './svg.ts';

export interface Series {
  readonly label: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

const width = 900;
const height = 460;
const box = { left: 78, right: 870, top: 60, bottom: 392 };

/** Both axes begin at zero: a slope looks as steep as it is. */
export function lineChart(
  title: string,
  axes: { readonly x: string; readonly y: string },
  series: readonly Series[],
): string {
  const all = series.flatMap(({ points }) => points);
  const [xMarks, yMarks] = [ticks(Math.max(...all.map(({ x }) => x), 1)), ticks(Math.max(...all.map(({ y }) => y), 1))];
  const x = (value: number): number => box.left + (value / (xMarks.at(-1) ?? 1)) * (box.right - box.left);
  const y = (value: number): number => box.bottom - (value / (yMarks.at(-1) ?? 1)) * (box.bottom - box.top);
  const small = { 'font-size': 11 };
  const content = [
    ...yMarks.flatMap((mark) => [
      line([box.left, y(mark)], [box.right, y(mark)]),
      text(box.left - 8, y(mark) + 4, String(round(mark)), { ...small, 'text-anchor': 'end' }),
    ]),
    ...xMarks.map((mark) => text(x(mark), box.bottom + 18, String(round(mark)), { ...small, 'text-anchor': 'middle' })),
    line([box.left, box.bottom], [box.right, box.bottom], { stroke: ink }),
    text((box.left + box.right) / 2, box.bottom + 40, axes.x, { 'text-anchor': 'middle' }),
    text(16, 48, axes.y, small),
  ];
  for (const [index, { label, points }] of series.entries()) {
    const colour = palette[index % palette.length] ?? ink;
    const path = points.map((point) => `${round(x(point.x))},${round(y(point.y))}`).join(' ');
    content.push(element('polyline', { points: path, fill: 'none', stroke: colour, 'stroke-width': 1.5 }));
    content.push(
      ...points.map((point) => element('circle', { cx: round(x(point.x)), cy: round(y(point.y)), r: 2, fill: colour })),
    );
    const at = box.left + 20 + index * 190;
    content.push(element('rect', { x: at, y: height - 24, width: 13, height: 13, fill: colour }));
    content.push(text(at + 19, height - 13, label));
  }
  return picture({ width, height }, title, content);
}
