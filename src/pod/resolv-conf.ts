/** The text of a pod's /etc/resolv.conf (resolv.conf(5)). Pure. */

export interface DnsSettings {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

/**
 * The pod's own settings when it has any, else those of the network, else the host's file.
 *
 * @param hostFile the host's resolv.conf, capped by the caller
 */
export function resolvConf(pod: DnsSettings | undefined, network: DnsSettings, hostFile: string): string {
  const asked = pod !== undefined && (pod.servers.length > 0 || pod.searches.length > 0 || pod.options.length > 0);
  const settings = asked ? pod : network;
  if (!asked && settings.servers.length === 0) return hostFile;
  return [
    ...(settings.searches.length > 0 ? [`search ${settings.searches.join(' ')}`] : []),
    ...settings.servers.map((server) => `nameserver ${server}`),
    ...(settings.options.length > 0 ? [`options ${settings.options.join(' ')}`] : []),
    '',
  ].join('\n');
}
