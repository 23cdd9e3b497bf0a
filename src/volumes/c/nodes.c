/* What the guest holds on to: nodes by id and by file, handles by id. */
#include "files.h"

enum { BUCKETS = 16384 };

/* Of all servers of the session: one that follows another goes on with it. */
static struct tables {
  struct node nodes[NODE_LIMIT], *bucket[BUCKETS], *unused;
  struct handle handles[HANDLE_LIMIT];
  int unused_handle;
  uint32_t held, enough;
} *known;

/* Of the files that may be known; of fewer where the machine gives fewer descriptors. */
static uint32_t enough_nodes(void) {
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur >= OPEN_LIMIT) return NODES_ENOUGH;
  return (uint32_t)((uint64_t)files.rlim_cur * NODES_ENOUGH / OPEN_LIMIT);
}

/* The same file by another mount is another node: only one of them may be read-only. */
static struct node **place(uint64_t mount, uint64_t device, uint64_t inode) {
  uint64_t hash = (inode ^ mount << 40 ^ device << 20) * 0x9e3779b97f4a7c15u;
  struct node **at = &known->bucket[hash >> 50];
  while (*at && ((*at)->inode != inode || (*at)->device != device || (*at)->mount != mount)) at = &(*at)->next;
  return at;
}

/* The root is node 1 and stays; the others follow it in the table. */
void start_nodes(int root) {
  known = shared(sizeof *known);
  known->enough = enough_nodes();
  known->nodes[0] = (struct node){.fd = root, .lookups = 1, .type = S_IFDIR};
  for (int i = NODE_LIMIT - 1; i > 0; i--) {
    known->nodes[i] = (struct node){.fd = -1, .next = known->unused};
    known->unused = &known->nodes[i];
  }
  for (int i = 0; i < HANDLE_LIMIT; i++) known->handles[i] = (struct handle){.fd = -1, .next = i + 1};
}

uint64_t node_id(const struct node *node) {
  return (uint64_t)(node - known->nodes) + FUSE_ROOT_ID;
}

struct node *node_of(uint64_t id) {
  uint64_t at = id - FUSE_ROOT_ID;
  errno = ESTALE;
  return at < NODE_LIMIT && known->nodes[at].fd >= 0 ? &known->nodes[at] : 0;
}

struct node *hold(int fd, const struct statx *found) {
  uint64_t device = makedev(found->stx_dev_major, found->stx_dev_minor);
  struct node **at = place(found->stx_mnt_id, device, found->stx_ino), *node = *at;
  if (node) {
    close(fd);
    node->lookups++;
    return node;
  }
  node = known->unused;
  errno = ENFILE;
  if (!node) {
    close_fd(fd);
    return 0;
  }
  known->unused = node->next;
  *node = (struct node){.fd = fd, .mount = found->stx_mnt_id, .inode = found->stx_ino, .device = device, .lookups = 1,
                        .type = found->stx_mode & S_IFMT};
  known->held++;
  return *at = node;
}

void forget(uint64_t id, uint64_t lookups) {
  struct node *node = node_of(id);
  if (!node || id == FUSE_ROOT_ID) return;
  node->lookups -= lookups < node->lookups ? lookups : node->lookups;
  if (node->lookups > 0) return;
  *place(node->mount, node->device, node->inode) = node->next;
  int fd = node->fd;
  *node = (struct node){.fd = -1, .next = known->unused};
  close(fd);
  known->unused = node;
  known->held--;
}

int nodes_are_many(void) {
  return known->held > known->enough;
}

int64_t new_handle(int fd) {
  if (known->unused_handle == HANDLE_LIMIT) {
    close(fd);
    errno = ENFILE;
    return -1;
  }
  int id = known->unused_handle;
  known->unused_handle = known->handles[id].next;
  known->handles[id] = (struct handle){.fd = fd};
  return id;
}

struct handle *handle_of(uint64_t id) {
  errno = EBADF;
  return id < HANDLE_LIMIT && known->handles[id].fd >= 0 ? &known->handles[id] : 0;
}

void drop_handle(uint64_t id) {
  struct handle *handle = handle_of(id);
  if (!handle) return;
  int fd = handle->fd;
  *handle = (struct handle){.fd = -1, .next = known->unused_handle};
  close(fd);
  known->unused_handle = (int)id;
}
