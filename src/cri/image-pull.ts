import { describeError, HuskError, isKind } from '../base/errors.ts';
import type { AuthConfig, PullImageRequest, PullImageResponse } from '../gen/cri/v1/api.ts';
import type { RegistryAuth } from '../images/image-store.ts';
import { isNativeHandler, runtimeHandlers } from '../pod/routing.ts';
import { refuse } from '../pod/validate/check.ts';
import { checkImageSpec } from '../pod/validate/container-config.ts';
import type { CriContext } from './context.ts';

/** PullImage: the image can be used when this returns. The answer is its one identifier, the config digest. */
export async function pullImage(
  { images }: Pick<CriContext, 'images'>,
  request: PullImageRequest,
  signal: AbortSignal,
): Promise<PullImageResponse> {
  const spec = checkImageSpec('image', request.image);
  if (!runtimeHandlers.includes(spec.runtimeHandler) && !isNativeHandler(spec.runtimeHandler)) {
    refuse('image.runtime_handler', spec.runtimeHandler, 'no such handler, wanted "", "vm" or "native"');
  }
  try {
    const image = await images.pull(spec.image, toRegistryAuth(request.auth), signal);
    return { imageRef: image.id };
  } catch (caught) {
    if (isKind(caught, 'unavailable')) throw registryUnavailable(caught);
    throw caught;
  }
}

/** The kubelet knows this case by the beginning of the message, and looks only when the code is Unknown. */
function registryUnavailable(cause: unknown): HuskError {
  return new HuskError('unknown', `RegistryUnavailable: ${describeError(cause)}`, { cause });
}

/** @throws HuskError `invalid-argument`; no message shows a credential */
export function toRegistryAuth(auth: AuthConfig | undefined): RegistryAuth | undefined {
  if (auth === undefined) return undefined;
  const pair = splitBasic(auth.auth);
  const given = {
    username: auth.username || pair.username,
    password: auth.password || pair.password,
    identityToken: auth.identityToken,
    registryToken: auth.registryToken,
    serverAddress: auth.serverAddress,
  };
  const set = Object.entries(given).filter(([, value]) => value !== '');
  for (const [key, value] of set) {
    if (/[\r\n\0]/.test(value)) throw new HuskError('invalid-argument', `auth.${key}: holds a control character`);
  }
  return set.length === 0 ? undefined : Object.fromEntries(set);
}

/** Docker's form: base64 of `user:password`, sometimes with NULs at the end. */
function splitBasic(auth: string): { readonly username: string; readonly password: string } {
  if (auth === '') return { username: '', password: '' };
  const text = Buffer.from(auth, 'base64').toString('utf8').replace(/\0+$/, '');
  const colon = text.indexOf(':');
  if (colon < 0 || !/^[A-Za-z0-9+/_=-]+$/.test(auth)) {
    throw new HuskError('invalid-argument', 'auth.auth: wanted base64 of "user:password"');
  }
  return { username: text.slice(0, colon), password: text.slice(colon + 1) };
}
