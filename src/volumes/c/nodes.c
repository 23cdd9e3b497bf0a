/* What the guest holds on to: nodes by id and by file, handles by id. */
#include "files.h"

enum { BUCKETS = 16384 };

static struct node nodes[NODE_LIMIT], *bucket[BUCKETS], *unused;
static struct handle handles[HANDLE_LIMIT];
static int unused_handle;
static uint32_t held;

/* The same file by another mount is another node: only one of them may be read-only. */
static struct node **place(uint64_t mount, uint64_t device, uint64_t inode) {
  uint64_t hash = (inode ^ mount << 40 ^ device << 20) * 0x9e3779b97f4a7c15u;
  struct node **at = &bucket[hash >> 50];
  while (*at && ((*at)->inode != inode || (*at)->device != device || (*at)->mount != mount)) at = &(*at)->next;
  return at;
}

/* The root is node 1 and stays; the others follow it in the table. */
void start_nodes(int root) {
  nodes[0] = (struct node){.fd = root, .lookups = 1, .type = S_IFDIR};
  for (int i = NODE_LIMIT - 1; i > 0; i--) {
    nodes[i] = (struct node){.fd = -1, .next = unused};
    unused = &nodes[i];
  }
  for (int i = 0; i < HANDLE_LIMIT; i++) handles[i] = (struct handle){.fd = -1, .next = i + 1};
}

uint64_t node_id(const struct node *node) {
  return (uint64_t)(node - nodes) + FUSE_ROOT_ID;
}

struct node *node_of(uint64_t id) {
  uint64_t at = id - FUSE_ROOT_ID;
  errno = ESTALE;
  return at < NODE_LIMIT && nodes[at].fd >= 0 ? &nodes[at] : 0;
}

struct node *hold(int fd, const struct statx *found) {
  uint64_t device = makedev(found->stx_dev_major, found->stx_dev_minor);
  struct node **at = place(found->stx_mnt_id, device, found->stx_ino), *node = *at;
  if (node) {
    close(fd);
    node->lookups++;
    return node;
  }
  node = unused;
  errno = ENFILE;
  if (!node) {
    close_fd(fd);
    return 0;
  }
  unused = node->next;
  *node = (struct node){.fd = fd, .mount = found->stx_mnt_id, .inode = found->stx_ino, .device = device, .lookups = 1,
                        .type = found->stx_mode & S_IFMT};
  held++;
  return *at = node;
}

void forget(uint64_t id, uint64_t lookups) {
  struct node *node = node_of(id);
  if (!node || id == FUSE_ROOT_ID) return;
  node->lookups -= lookups < node->lookups ? lookups : node->lookups;
  if (node->lookups > 0) return;
  *place(node->mount, node->device, node->inode) = node->next;
  close(node->fd);
  *node = (struct node){.fd = -1, .next = unused};
  unused = node;
  held--;
}

int nodes_are_many(void) {
  return held > NODES_ENOUGH;
}

int64_t new_handle(int fd) {
  if (unused_handle == HANDLE_LIMIT) {
    close(fd);
    errno = ENFILE;
    return -1;
  }
  int id = unused_handle;
  unused_handle = handles[id].next;
  handles[id] = (struct handle){.fd = fd};
  return id;
}

struct handle *handle_of(uint64_t id) {
  errno = EBADF;
  return id < HANDLE_LIMIT && handles[id].fd >= 0 ? &handles[id] : 0;
}

void drop_handle(uint64_t id) {
  struct handle *handle = handle_of(id);
  if (!handle) return;
  close(handle->fd);
  *handle = (struct handle){.fd = -1, .next = unused_handle};
  unused_handle = (int)id;
}
