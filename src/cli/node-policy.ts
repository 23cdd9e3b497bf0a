/** The node's policy file: which pods may run natively. */
import { readFile } from 'node:fs/promises';
import { parse } from 'smol-toml';
import { HuskError, isErrno } from '../base/errors.ts';
import { asBoolean, asList, asMatch, asObject, asString, type JsonObject, orElse } from '../base/shape.ts';
import { allowAllNative, type NativePolicy } from '../pod/native-policy.ts';

/**
 * Reads the file. There is none: every pod that asks may run natively.
 * @throws HuskError `invalid-argument` that names file and key: a policy that is misread must not be followed
 */
export async function readNodePolicy(path: string): Promise<NativePolicy> {
  let content: string;
  try {
    content = await readFile(path, 'utf8');
  } catch (caught) {
    if (isErrno(caught, 'ENOENT')) return allowAllNative;
    throw caught;
  }
  try {
    return parseNodePolicy(content);
  } catch (caught) {
    throw new HuskError('invalid-argument', `policy file "${path}": ${HuskError.from(caught).message}`, {
      cause: caught,
      stage: 'config',
    });
  }
}

const keys = ['allow', 'namespaces', 'service-accounts', 'service-account-annotation'] as const;

/** @throws HuskError `invalid-argument` for anything that is not the form of README.md */
export function parseNodePolicy(content: string): NativePolicy {
  const { native: table, ...others } = asObject(parse(content), 'policy');
  refuseUnknown(Object.keys(others));
  if (table === undefined) return allowAllNative;
  const native: JsonObject = asObject(table, 'native');
  refuseUnknown(
    Object.keys(native)
      .filter((key) => !keys.some((known) => known === key))
      .map((key) => `native.${key}`),
  );
  const allow = orElse(native['allow'], true, (value) => asBoolean(value, 'native.allow'));
  const annotation = orElse(native['service-account-annotation'], undefined, (value) =>
    asString(value, 'native.service-account-annotation'),
  );
  const accounts = orElse(native['service-accounts'], undefined, (value) =>
    asList(value, 'native.service-accounts', (each, at) =>
      asMatch(each, at, /^[a-z0-9.-]+\/[a-z0-9.-]+$/, '"NAMESPACE/NAME"'),
    ),
  );
  if (accounts !== undefined && annotation === undefined) {
    throw new HuskError(
      'invalid-argument',
      'native.service-accounts: wanted together with native.service-account-annotation, since CRI does not tell accounts',
    );
  }
  return {
    refusal: allow ? undefined : 'its policy file says so',
    namespaces: orElse(native['namespaces'], undefined, (value) => asList(value, 'native.namespaces', asString)),
    serviceAccounts: accounts,
    serviceAccountAnnotation: annotation,
  };
}

function refuseUnknown(unknown: readonly string[]): void {
  if (unknown[0] !== undefined) throw new HuskError('invalid-argument', `key "${unknown[0]}": no such key`);
}
