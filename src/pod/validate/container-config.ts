/** Rules for CRI's ContainerConfig. What a runtime cannot do yet is the runtime's to say. */
import { HuskError } from '../../base/errors.ts';
import {
  type Capability,
  type ContainerConfig,
  type ImageSpec,
  type KeyValue,
  type LinuxContainerSecurityContext,
  type Mount,
  MountPropagation,
  Signal,
} from '../../gen/cri/v1/api.ts';
import { absolutePath, annotations, each, labels, member, refuse, relativePath, text } from './check.ts';
import { limits } from './limits.ts';
import { checkResources } from './resources.ts';
import { checkIdentity, checkMountMappings, checkNamespaces, checkProfiles } from './security.ts';

const name = { max: limits.nameChars, pattern: /^[^/]+$/, wanted: 'a name without "/"' };
const image = { max: limits.imageChars, pattern: /^\S+$/, wanted: 'a reference without spaces' };
const capability = { max: 64, pattern: /^[A-Za-z_]+$/, wanted: 'the name of a capability' };
const permissions = { max: 3, pattern: /^[rwm]+$/, wanted: 'letters of "rwm"', optional: true };
const cdiDevice = {
  max: limits.nameChars,
  pattern: /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*=[\w.:-]+$/,
  wanted: '"vendor/class=name"',
};

/**
 * A container's config, complete and within bounds.
 * @throws HuskError `invalid-argument`, naming the field and its value
 */
export function checkContainerConfig(config: ContainerConfig | undefined): ContainerConfig {
  if (config === undefined) throw new HuskError('invalid-argument', 'config: missing');
  if (config.metadata === undefined) throw new HuskError('invalid-argument', 'config.metadata: missing');
  text('config.metadata.name', config.metadata.name, name);
  checkImageSpec('config.image', config.image);
  checkWords('config.command', config.command);
  checkWords('config.args', config.args);
  absolutePath('config.working_dir', config.workingDir, { optional: true });
  checkEnvs('config.envs', config.envs);
  each('config.mounts', config.mounts, limits.mounts, checkMount);
  each('config.devices', config.devices, limits.devices, (at, device) => {
    absolutePath(`${at}.container_path`, device.containerPath);
    absolutePath(`${at}.host_path`, device.hostPath);
    text(`${at}.permissions`, device.permissions, permissions);
  });
  each('config.CDI_devices', config.CDIDevices, limits.devices, (at, device) =>
    text(`${at}.name`, device.name, cdiDevice),
  );
  labels('config.labels', config.labels);
  annotations('config.annotations', config.annotations);
  relativePath('config.log_path', config.logPath);
  checkResources('config.linux.resources', config.linux?.resources);
  checkSecurity('config.linux.security_context', config.linux?.securityContext);
  if (config.windows !== undefined) throw new HuskError('invalid-argument', 'config.windows: this node runs Linux');
  member('config.stop_signal', config.stopSignal, Signal);
  return config;
}

/**
 * An image reference that is there and can be one; its grammar is the image store's matter.
 * @throws HuskError `invalid-argument`
 */
export function checkImageSpec(path: string, spec: ImageSpec | undefined): ImageSpec {
  if (spec === undefined) throw new HuskError('invalid-argument', `${path}: missing`);
  text(`${path}.image`, spec.image, image);
  text(`${path}.user_specified_image`, spec.userSpecifiedImage, { ...image, optional: true });
  return spec;
}

/**
 * The words of a command: newlines are fine, a NUL would end a word early.
 * @throws HuskError `invalid-argument`
 */
export function checkWords(path: string, words: readonly string[]): void {
  let chars = 0;
  each(path, words, limits.commandArguments, (at, word) => {
    if (word.includes('\0')) refuse(at, word, 'holds a NUL');
    chars += word.length;
  });
  if (chars > limits.commandChars) {
    throw new HuskError('invalid-argument', `${path}: ${chars} characters, wanted at most ${limits.commandChars}`);
  }
}

/** Values may be secrets: no message shows one. */
function checkEnvs(path: string, envs: readonly KeyValue[]): void {
  let bytes = 0;
  each(path, envs, limits.envs, (at, env) => {
    text(`${at}.key`, env.key, { max: 4096, pattern: /^[^=]+$/, wanted: 'a name without "="' });
    if (env.value.includes(0)) throw new HuskError('invalid-argument', `${at}.value of "${env.key}": holds a NUL`);
    // Tools have written HOME into /etc/passwd, a line of its own for each newline (CVE-2022-4318).
    if (env.key === 'HOME' && (env.value.includes(0x0a) || env.value.includes(0x0d))) {
      throw new HuskError('invalid-argument', `${at}.value of "HOME": holds a line break`);
    }
    bytes += env.key.length + env.value.length;
  });
  if (bytes > limits.envBytes) {
    throw new HuskError('invalid-argument', `${path}: ${bytes} bytes, wanted at most ${limits.envBytes}`);
  }
}

function checkMount(path: string, mount: Mount): void {
  absolutePath(`${path}.container_path`, mount.containerPath);
  member(`${path}.propagation`, mount.propagation, MountPropagation);
  relativePath(`${path}.image_sub_path`, mount.imageSubPath);
  checkMountMappings(path, mount.uidMappings, mount.gidMappings);
  if (mount.image === undefined || mount.image.image === '') {
    absolutePath(`${path}.host_path`, mount.hostPath);
    if (mount.imageSubPath !== '') refuse(`${path}.image_sub_path`, mount.imageSubPath, 'wanted only with an image');
  } else {
    checkImageSpec(`${path}.image`, mount.image);
    if (mount.hostPath !== '') refuse(`${path}.host_path`, mount.hostPath, 'wanted empty together with an image');
  }
  if (!mount.recursiveReadOnly) return;
  if (!mount.readonly) refuse(`${path}.recursive_read_only`, true, 'wanted only with readonly');
  if (mount.propagation !== MountPropagation.PROPAGATION_PRIVATE) {
    refuse(`${path}.recursive_read_only`, true, 'wanted only with propagation PRIVATE');
  }
}

function checkSecurity(path: string, context: LinuxContainerSecurityContext | undefined): void {
  if (context === undefined) return;
  checkNamespaces(`${path}.namespace_options`, context.namespaceOptions);
  checkIdentity(path, context);
  checkProfiles(path, context);
  text(`${path}.apparmor_profile`, context.apparmorProfile, { max: limits.nameChars, optional: true });
  const { capabilities } = context;
  if (capabilities !== undefined) checkCapabilities(`${path}.capabilities`, capabilities);
  each(`${path}.masked_paths`, context.maskedPaths, limits.maskedPaths, (at, value) => absolutePath(at, value));
  each(`${path}.readonly_paths`, context.readonlyPaths, limits.maskedPaths, (at, value) => absolutePath(at, value));
}

function checkCapabilities(path: string, capabilities: Capability): void {
  const check = (at: string, value: string): void => text(at, value, capability);
  each(`${path}.add_capabilities`, capabilities.addCapabilities, limits.capabilities, check);
  each(`${path}.drop_capabilities`, capabilities.dropCapabilities, limits.capabilities, check);
  each(`${path}.add_ambient_capabilities`, capabilities.addAmbientCapabilities, limits.capabilities, check);
}
