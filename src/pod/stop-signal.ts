/** The signal that asks a container to end: the pod's wish, else the image's, else TERM. */
import { HuskError } from '../base/errors.ts';
import { Signal } from '../gen/cri/v1/api.ts';

const defaultSignal = 'TERM';
const imagePattern = /^(SIG)?([A-Z][A-Z0-9]*([+-]\d{1,2})?)$/;
const maxSignalNumber = 64;

/**
 * The signal's name without `SIG`, or its number: `TERM`, `RTMIN+3`, `15`.
 *
 * @param wish value of CRI's enum; zero: none
 * @param ofImage StopSignal of the image config, untrusted; empty: none
 * @throws HuskError `invalid-argument` when neither CRI nor the kernel could have such a signal
 */
export function stopSignalOf(wish: Signal, ofImage: string): string {
  if (wish !== Signal.RUNTIME_DEFAULT) return signalName(wish);
  if (ofImage === '') return defaultSignal;
  if (/^\d+$/.test(ofImage)) {
    const number = Number(ofImage);
    if (number >= 1 && number <= maxSignalNumber) return String(number);
  }
  const name = imagePattern.exec(ofImage.toUpperCase())?.[2];
  if (name !== undefined && signalValue(name) !== Signal.RUNTIME_DEFAULT) return name;
  throw new HuskError(
    'invalid-argument',
    `read the stop signal of the image ${JSON.stringify(ofImage.slice(0, 32))}: no such signal`,
  );
}

/** CRI's enum value of a signal's name without `SIG`; zero when CRI has none for it. */
export function signalValue(name: string): Signal {
  const key = `SIG${name.replace('+', 'PLUS').replace('-', 'MINUS')}`;
  return (Object.entries(Signal).find(([candidate]) => candidate === key)?.[1] ?? Signal.RUNTIME_DEFAULT) as Signal;
}

function signalName(value: Signal): string {
  const key = Object.entries(Signal).find(([, candidate]) => candidate === value)?.[0] ?? '';
  const name = key.replace(/^SIG/, '').replace('PLUS', '+').replace('MINUS', '-');
  return name === '' ? defaultSignal : name;
}
