/** `husk explain`: which runtime a pod of a Kubernetes manifest would get, and why. */
import { parseAllDocuments } from 'yaml';
import { HuskError } from '../base/errors.ts';
import { asBoolean, asList, asObject, asString, asStringMap, type JsonObject, orElse } from '../base/shape.ts';
import { NamespaceMode, PodSandboxConfig } from '../gen/cri/v1/api.ts';
import { chooseRuntime, type RoutingPolicy, untrustedAnnotation } from '../pod/routing.ts';

const maxManifestBytes = 4 * 1024 * 1024;
const maxAliasCount = 100;

export interface Explanation {
  /** `NAMESPACE/NAME`. */
  readonly pod: string;
  /** Absent when the node would refuse the pod. */
  readonly runtime?: 'vm' | 'native';
  /** Routing's own sentence, in CRI's words, or the refusal. */
  readonly reason: string;
  /** The fields of the manifest that decided. */
  readonly decidedBy: readonly string[];
  readonly handler: string;
}

/**
 * Explains every pod, and every pod template, of a manifest. A RuntimeClass in the same manifest
 * gives its handler; of any other the handler is taken to have the class's name.
 *
 * @throws HuskError `invalid-argument` for what is no manifest or holds no pod
 */
export function explain(manifest: string, policy: RoutingPolicy): Explanation[] {
  const documents = readDocuments(manifest);
  const handlers = runtimeClasses(documents);
  const pods = documents.flatMap(podsOf);
  if (pods.length === 0) {
    throw new HuskError('invalid-argument', 'explain: the manifest holds no Pod and nothing with a pod template');
  }
  return pods.map((pod) => explainPod(pod, handlers, policy));
}

function readDocuments(manifest: string): JsonObject[] {
  if (manifest.length > maxManifestBytes) {
    throw new HuskError(
      'invalid-argument',
      `manifest: ${manifest.length} characters, wanted at most ${maxManifestBytes}`,
    );
  }
  const parsed = parseAllDocuments(manifest);
  const documents = Array.isArray(parsed) ? parsed : [];
  return documents.flatMap((document, index) => {
    const [error] = document.errors;
    if (error !== undefined) throw new HuskError('invalid-argument', `manifest: ${error.message}`, { cause: error });
    const value = plainValue(document);
    return value === null ? [] : itemsOf(asObject(value, `document ${index + 1}`));
  });
}

/** Aliases that multiply are refused by the parser before they fill memory. */
function plainValue(document: { toJS(options: { maxAliasCount: number }): unknown }): unknown {
  try {
    return document.toJS({ maxAliasCount });
  } catch (cause) {
    throw new HuskError('invalid-argument', `manifest: ${HuskError.from(cause).message}`, { cause });
  }
}

const none: JsonObject = {};

/** The objects of a List, or the object itself. */
function itemsOf(object: JsonObject): JsonObject[] {
  return object['kind'] === 'List' ? asList(object['items'], 'items', asObject) : [object];
}

function runtimeClasses(documents: readonly JsonObject[]): ReadonlyMap<string, string> {
  const classes = documents.filter((object) => object['kind'] === 'RuntimeClass');
  return new Map(
    classes.map((object) => [
      asString(asObject(object['metadata'], 'metadata')['name'], 'metadata.name'),
      asString(object['handler'], 'handler'),
    ]),
  );
}

interface Pod {
  readonly metadata: JsonObject;
  readonly spec: JsonObject;
  /** Where the pod's spec stands in the manifest. */
  readonly at: string;
}

/** Where the kinds of the workload APIs keep their pod template. */
const templatePaths: readonly (readonly string[])[] = [
  ['spec', 'template'],
  ['spec', 'jobTemplate', 'spec', 'template'],
];

function podsOf(object: JsonObject): Pod[] {
  const owner = orElse(object['metadata'], none, (value) => asObject(value, 'metadata'));
  if (object['kind'] === 'Pod') return [{ metadata: owner, spec: asObject(object['spec'], 'spec'), at: 'spec' }];
  for (const path of templatePaths) {
    const template = dig(object, path);
    if (template === undefined) continue;
    const metadata = orElse(template['metadata'], none, (value) => asObject(value, 'template.metadata'));
    const at = `${path.join('.')}.spec`;
    return [{ metadata: { ...owner, ...metadata, name: owner['name'] }, spec: asObject(template['spec'], at), at }];
  }
  return [];
}

function dig(object: JsonObject, path: readonly string[]): JsonObject | undefined {
  let at: unknown = object;
  for (const key of path) {
    if (typeof at !== 'object' || at === null || Array.isArray(at)) return undefined;
    at = (at as JsonObject)[key];
  }
  return typeof at === 'object' && at !== null && !Array.isArray(at) ? (at as JsonObject) : undefined;
}

function explainPod(pod: Pod, handlers: ReadonlyMap<string, string>, policy: RoutingPolicy): Explanation {
  const { metadata, spec, at } = pod;
  const name = orElse(metadata['name'], '', (value) => asString(value, 'metadata.name'));
  const namespace = orElse(metadata['namespace'], 'default', (value) => asString(value, 'metadata.namespace'));
  const annotations: Record<string, string> = orElse(metadata['annotations'], {}, (value) =>
    asStringMap(value, 'metadata.annotations'),
  );
  const className = orElse(spec['runtimeClassName'], '', (value) => asString(value, `${at}.runtimeClassName`));
  const handler = handlers.get(className) ?? className;
  const host = hostFields(spec, at);
  const config = sandboxConfig({ name, namespace, annotations, host });
  const said = { pod: `${namespace}/${name}`, handler };
  const decidedBy = [
    ...(annotations[untrustedAnnotation] === 'true' ? [`metadata.annotations["${untrustedAnnotation}"]`] : []),
    ...(handler === '' ? [] : [`${at}.runtimeClassName "${className}" (handler "${handler}")`]),
    ...host.map(({ field }) => field),
  ];
  try {
    return { ...said, decidedBy, ...chooseRuntime(config, handler, policy) };
  } catch (caught) {
    return { ...said, decidedBy, reason: HuskError.from(caught).message };
  }
}

type HostWish = 'network' | 'pid' | 'ipc' | 'privileged';

/** What makes the kubelet ask CRI for the host, with the manifest's words for it. */
function hostFields(spec: JsonObject, at: string): { readonly wish: HostWish; readonly field: string }[] {
  const flags = [
    ['network', 'hostNetwork'],
    ['pid', 'hostPID'],
    ['ipc', 'hostIPC'],
  ] as const;
  const found: { wish: HostWish; field: string }[] = flags
    .filter(([, key]) => orElse(spec[key], false, (value) => asBoolean(value, `${at}.${key}`)))
    .map(([wish, key]) => ({ wish, field: `${at}.${key}` }));
  for (const list of ['initContainers', 'containers'] as const) {
    const containers = orElse(spec[list], [], (value) => asList(value, `${at}.${list}`, asObject));
    for (const [index, container] of containers.entries()) {
      const field = `${at}.${list}[${index}].securityContext.privileged`;
      const security = orElse(container['securityContext'], none, (value) => asObject(value, field));
      if (orElse(security['privileged'], false, (value) => asBoolean(value, field))) {
        found.push({ wish: 'privileged', field });
      }
    }
  }
  return found;
}

function sandboxConfig(pod: {
  readonly name: string;
  readonly namespace: string;
  readonly annotations: Record<string, string>;
  readonly host: readonly { readonly wish: HostWish }[];
}): PodSandboxConfig {
  const wants = (wish: HostWish): boolean => pod.host.some((each) => each.wish === wish);
  const mode = (wish: HostWish): NamespaceMode => (wants(wish) ? NamespaceMode.NODE : NamespaceMode.POD);
  return PodSandboxConfig.fromPartial({
    metadata: { name: pod.name, namespace: pod.namespace },
    annotations: pod.annotations,
    linux: {
      securityContext: {
        privileged: wants('privileged'),
        namespaceOptions: { network: mode('network'), pid: mode('pid'), ipc: mode('ipc') },
      },
    },
  });
}

/** Explanations as people read them. */
export function explainText(explanations: readonly Explanation[]): string {
  return explanations
    .map(({ pod, runtime, reason, decidedBy }) =>
      [
        `${pod}: ${runtime ?? 'refused'}`,
        `  why: ${reason}`,
        `  decided by: ${decidedBy.length === 0 ? 'nothing in the manifest asks for the host' : decidedBy.join(', ')}`,
        '',
      ].join('\n'),
    )
    .join('');
}
