#include "jail.h"

void parse(struct options *o, int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    const char *name = argv[i];
    int wants = strcmp(name, "--kvm") == 0 || strcmp(name, "--sealed") == 0 ? 0 : strncmp(name, "--open-", 7) == 0 ? 2
                : strcmp(name, "--disk") == 0 ? 3 : 1;
    if (i + wants >= argc) goto bad;
    const char *value = argv[i + 1];
    if (strcmp(name, "--state") == 0) o->state = value;
    else if (strcmp(name, "--root") == 0) o->root = value;
    else if (strcmp(name, "--netns") == 0) o->netns = value;
    else if (strcmp(name, "--uid") == 0) o->uid = (uid_t)number(value, 1, INT_MAX);
    else if (strcmp(name, "--agent-uid") == 0) o->agent_uid = (uid_t)number(value, 0, INT_MAX);
    else if (strcmp(name, "--oom") == 0) o->oom = number(value, -1000, 1000);
    else if (strcmp(name, "--file-bytes") == 0) o->file_bytes = (rlim_t)number(value, 1, LONG_MAX);
    else if (strcmp(name, "--cgroup") == 0 && o->cgroup_count < MAX_CGROUPS) o->cgroups[o->cgroup_count++] = value;
    else if (strcmp(name, "--kvm") == 0) o->kvm = 1;
    else if (strcmp(name, "--sealed") == 0) o->sealed = 1;
    else if (strcmp(name, "--open-ro") == 0) hold_file(o, value, argv[i + 2]);
    else if (strcmp(name, "--disk") == 0) hold_disk(o, value, argv[i + 2], argv[i + 3]);
    else goto bad;
    i += wants;
    continue;
  bad:
    errno = EINVAL;
    die("option '%.40s'", name);
  }
  errno = EINVAL;
  if (!o->state || !o->root || !o->netns || !o->uid || !o->file_bytes) die("an option is missing");
}
