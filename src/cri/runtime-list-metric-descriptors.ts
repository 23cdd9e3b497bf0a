import type { ListMetricDescriptorsResponse } from '../gen/cri/v1/api.ts';
import { commonLabels, descriptors } from '../metrics/descriptors.ts';

/** ListMetricDescriptors: what ListPodSandboxMetrics tells of. */
export function listMetricDescriptors(): ListMetricDescriptorsResponse {
  return {
    descriptors: [...descriptors.values()].map(({ name, help, labels }) => ({
      name,
      help,
      labelKeys: [...commonLabels, ...labels],
    })),
  };
}
