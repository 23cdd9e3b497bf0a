/** Users and groups. The image's passwd has `app` (1001:1002), its group file puts app into 2000 and 3000. */
import type { OciSpec } from '../../../src/oci/runtime-spec.ts';
import { asBase, type CompatCase, security } from '../case.ts';

const user =
  (uid: number, gid: number, additionalGids: number[] = []) =>
  (spec: OciSpec): void => {
    spec.process.user = { uid, gid, additionalGids };
  };
const id = (value: number | bigint) => ({ value: BigInt(value) });

/** What passwd and group files of the image hold; `extra` entries of the layer. */
export const userFiles = {
  passwd:
    'root:x:0:0:root:/root:/bin/sh\napp:x:1001:1002:app:/home:/bin/sh\n1234:x:7777:7777:digits:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
  group: 'root:x:0:\naudio:x:2000:app\nvideo:x:3000:other,app\n1234:x:8888:\nnogroup:x:65534:\n',
};

export const users: readonly CompatCase[] = [
  { group: 'Users', name: 'nothing asked for: root', reference: asBase },
  {
    group: 'Users',
    name: 'a uid that passwd knows',
    container: security({ runAsUser: id(1001) }),
    reference: user(1001, 1002, [1002, 2000, 3000]),
  },
  {
    group: 'Users',
    name: 'a uid that passwd does not know',
    container: security({ runAsUser: id(4242) }),
    reference: user(4242, 0, [0]),
  },
  {
    group: 'Users',
    name: 'the largest uid that runC takes',
    container: security({ runAsUser: id(2_147_483_647n) }),
    reference: user(2_147_483_647, 0, [0]),
  },
  {
    group: 'Users',
    name: 'a uid that is also a name in passwd',
    container: security({ runAsUser: id(1234) }),
    reference: user(1234, 0, [0]),
  },
  {
    group: 'Users',
    name: 'uid and gid',
    container: security({ runAsUser: id(1000), runAsGroup: id(2222) }),
    reference: user(1000, 2222, [2222]),
  },
  {
    group: 'Users',
    name: 'a name',
    container: security({ runAsUsername: 'app' }),
    reference: user(1001, 1002, [1002, 2000, 3000]),
  },
  {
    group: 'Users',
    name: 'a name and a gid',
    container: security({ runAsUsername: 'app', runAsGroup: id(5000) }),
    reference: user(1001, 5000, [2000, 3000, 5000]),
  },
  {
    group: 'Users',
    name: 'supplemental groups, merged',
    container: security({ runAsUser: id(1001), supplementalGroups: [7n, 8n] }),
    reference: user(1001, 1002, [7, 8, 1002, 2000, 3000]),
  },
  {
    group: 'Users',
    name: 'supplemental groups, strict',
    container: security({ runAsUser: id(1001), supplementalGroups: [7n, 8n], supplementalGroupsPolicy: 1 }),
    reference: user(1001, 1002, [7, 8, 1002]),
  },
  {
    group: 'Users',
    name: 'supplemental groups of root',
    container: security({ supplementalGroups: [7n] }),
    reference: user(0, 0, [0, 7]),
  },
  { group: 'Users', name: 'the image’s user', image: 'user', reference: user(1001, 1002, [1002, 2000, 3000]) },
  {
    group: 'Users',
    name: 'a uid in place of the image’s user',
    image: 'user',
    container: security({ runAsUser: id(0) }),
    reference: user(0, 0, [0]),
  },
];
