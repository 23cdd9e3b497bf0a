import { HuskError } from '../base/errors.ts';
import { type Digest, isDigest } from '../base/ids.ts';

/** An image reference with every default filled in. */
export interface Reference {
  /** Registry host with its port, e.g. `docker.io`, `localhost:5000`, `[::1]:5000`. */
  readonly host: string;
  /** Path of the repository, e.g. `library/busybox`. */
  readonly repository: string;
  /** Set for `name:tag`, and for `name` alone, which means `latest`. Never set beside a digest alone. */
  readonly tag: string | undefined;
  readonly digest: Digest | undefined;
}

/** The distribution grammar's limit for host and repository together. */
const maxNameLength = 255;
/** Longer than any valid reference: 255 name, 1 + 128 tag, 1 + 71 digest. */
const maxReferenceLength = 512;
const hostPattern =
  /^(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*(?::[0-9]{1,5})?$/;
const ipv6HostPattern = /^\[[0-9a-fA-F:]{2,39}\](?::[0-9]{1,5})?$/;
const componentPattern = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;

/**
 * Parses a reference by the distribution grammar and fills in what users leave out:
 * `docker.io`, `library/` and `latest`.
 *
 * @throws HuskError `invalid-argument` naming the part that breaks the grammar
 * @see https://github.com/distribution/reference/blob/main/reference.go
 */
export function parseReference(text: string): Reference {
  if (text.length === 0) throw invalid(text, 'found nothing, wanted a name');
  if (text.length > maxReferenceLength) {
    throw invalid(`${text.slice(0, 40)}...`, `found ${text.length} characters, wanted at most ${maxReferenceLength}`);
  }
  const { name, tag, digest } = splitReference(text);
  const { host, repository } = splitName(name);
  checkName(text, host, repository);
  if (tag !== undefined && !tagPattern.test(tag)) throw invalid(text, `tag "${tag}" breaks the grammar`);
  if (digest !== undefined && !isDigest(digest)) {
    throw invalid(text, `digest "${digest}": wanted sha256 and 64 lower-case hex digits`);
  }
  return { host, repository, tag: tag ?? (digest === undefined ? 'latest' : undefined), digest };
}

/** Host and repository in full, e.g. `docker.io/library/busybox`. */
export function repositoryName(reference: Reference): string {
  return `${reference.host}/${reference.repository}`;
}

/** The form in `RepoTags`; undefined for a reference by digest: pulling by digest names no tag. */
export function repoTag(reference: Reference): string | undefined {
  if (reference.digest !== undefined || reference.tag === undefined) return undefined;
  return `${repositoryName(reference)}:${reference.tag}`;
}

/** The form in `RepoDigests`. */
export function repoDigest(reference: Reference, digest: Digest): string {
  return `${repositoryName(reference)}@${digest}`;
}

/** The whole reference in its longest form. */
export function formatReference(reference: Reference): string {
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`;
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`;
  return repositoryName(reference) + tag + digest;
}

function splitReference(text: string): { name: string; tag: string | undefined; digest: string | undefined } {
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : text.slice(at + 1);
  const rest = at < 0 ? text : text.slice(0, at);
  const colon = rest.lastIndexOf(':');
  // A colon before the last slash belongs to a port: localhost:5000/name.
  if (colon <= rest.lastIndexOf('/')) return { name: rest, tag: undefined, digest };
  return { name: rest.slice(0, colon), tag: rest.slice(colon + 1), digest };
}

function splitName(name: string): { host: string; repository: string } {
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const isHost = /[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase();
  if (!isHost) return { host: 'docker.io', repository: slash < 0 ? `library/${name}` : name };
  const repository = name.slice(slash + 1);
  if (first !== 'docker.io' && first !== 'index.docker.io') return { host: first, repository };
  return { host: 'docker.io', repository: repository.includes('/') ? repository : `library/${repository}` };
}

function checkName(text: string, host: string, repository: string): void {
  if (!hostPattern.test(host) && !ipv6HostPattern.test(host)) throw invalid(text, `host "${host}" breaks the grammar`);
  const port = /:([0-9]+)$/.exec(host.replace(/^\[.*\]/, ''))?.[1];
  if (port !== undefined && (Number(port) < 1 || Number(port) > 65_535)) {
    throw invalid(text, `port ${port}: wanted 1 to 65535`);
  }
  if (host.length + repository.length + 1 > maxNameLength) {
    throw invalid(text, `found a name of ${host.length + repository.length + 1} characters, wanted at most 255`);
  }
  for (const component of repository.split('/')) {
    if (!componentPattern.test(component)) {
      const upper = component !== component.toLowerCase() ? ' (repository names are lower-case)' : '';
      throw invalid(text, `repository part "${component}" breaks the grammar${upper}`);
    }
  }
}

function invalid(text: string, reason: string): HuskError {
  return new HuskError('invalid-argument', `parse image reference ${JSON.stringify(text)}: ${reason}`, {
    stage: 'parse-reference',
  });
}
