/* Lead connections of the hub's front to programs of this workspace that listen on its loopback alone.
 *
 * relay PORT, with its key as one line of standard input; it goes on in the background once it listens. The head of each
 * connection's request tells with which key it comes and where it goes, in a line that goes no further:
 *
 *     X-MLHub-Relay: <port> <key>[ close| start| list| use]
 *
 * "close" becomes "Connection: close": whoever is behind a connection is told once. With "start" the hub sends a command of the
 * site's instead of a request, which is run where nothing listens at the port, and not while it runs; "list" is answered with
 * the ports at which anything listens, one a line, and "use" with what the kernel counts of this workspace. No other word of
 * HTTP is read here.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { NOWHERE = -1, ROOM = 40 * 1024, PAIRS = 256, WAIT_SECONDS = 10, LONGEST_KEY = 128, LISTENS = 0x0A };
static const char NAME[] = "\r\nX-MLHub-Relay: ", CLOSE[] = "\r\nConnection: close", BLANK[] = "\r\n\r\n";
static char key[LONGEST_KEY + 2];

/* What was read from one side and not yet written to the other. */
struct side { int fd, is_over; size_t from, to; char *bytes; };
/* The front, and the program, whose fd is -1 until the head was read. */
struct pair { struct side front, program; int port, starts, is_connected; void (*tells)(int fd); time_t since; };
static struct pair *pairs[PAIRS];

static time_t now(void) {
  struct timespec moment;
  clock_gettime(CLOCK_MONOTONIC, &moment);
  return moment.tv_sec;
}

static void end_pair(struct pair *pair) {
  close(pair->front.fd);
  if (pair->program.fd >= 0) close(pair->program.fd);
  free(pair->front.bytes);
  free(pair->program.bytes);
  free(pair);
}

/* Connect to the loopback without waiting; -1 where that is refused at once. */
static int connect_to(int family, int port) {
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  int is_four = family == AF_INET;
  if (connect(fd, is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six, is_four ? sizeof four : sizeof six) < 0 &&
      errno != EINPROGRESS) {
    close(fd);
    return -1;
  }
  return fd;
}

/* How long it takes does not tell how much of the key is right. */
static int is_key(const char *text, size_t size) {
  size_t length = strlen(key);
  unsigned char differs = size != length;
  for (size_t at = 0; at < length; at++) differs |= key[at] ^ text[at < size ? at : 0];
  return !differs;
}

/* Tell what anything in the workspace listens at, whatever the address. */
static void list_ports(int fd) {
  static const char *const FILES[] = {"/proc/net/tcp", "/proc/net/tcp6"};
  for (size_t at = 0; at < 2; at++) {
    FILE *file = fopen(FILES[at], "re");
    char line[256];
    unsigned port, state;
    while (file && fgets(line, sizeof line, file)) {
      int found = sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x", &port, &state);
      if (found == 2 && state == LISTENS) dprintf(fd, "%u\n", port);
    }
    if (file) fclose(file);
  }
}

/* Tell what the kernel counts of this workspace, file by file: cgroups of the second version, and of the first. */
static void tell_use(int fd) {
  static const char *const FILES[] = {
      "cpu.stat", "memory.current", "memory.stat", "cpuacct/cpuacct.usage", "memory/memory.usage_in_bytes", "memory/memory.stat"};
  for (size_t at = 0; at < sizeof FILES / sizeof *FILES; at++) {
    char path[64], line[256];
    snprintf(path, sizeof path, "/sys/fs/cgroup/%s", FILES[at]);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) dprintf(fd, "%s %s", FILES[at], line);
    if (file) fclose(file);
  }
}

/* Read the line of ours, and take it out. Return 1, 0 while it may still come, -1 where it is none. */
static int read_head(struct pair *pair) {
  struct side *front = &pair->front;
  char *line = memmem(front->bytes, front->to, NAME, sizeof NAME - 1);
  char *end = line ? memmem(line + 2, front->bytes + front->to - line - 2, "\r\n", 2) : NULL;
  if (!end) return front->to == ROOM || memmem(front->bytes, front->to, BLANK, 4) ? -1 : 0;
  *end = '\0';
  char *word = line + sizeof NAME - 1, *rest;
  long port = strtol(word, &rest, 10);
  if (rest == word || *rest != ' ' || port < 1 || port > 65535) return -1;
  char *mark = strchr(rest + 1, ' ');
  if (!is_key(rest + 1, mark ? (size_t)(mark - rest - 1) : strlen(rest + 1))) return -1;
  pair->starts = mark && !strcmp(mark, " start");
  pair->tells = mark && !strcmp(mark, " list") ? list_ports : mark && !strcmp(mark, " use") ? tell_use : NULL;
  int closes = mark && !strcmp(mark, " close");
  *end = '\r';
  if (closes) {
    memcpy(line, CLOSE, sizeof CLOSE - 1);  /* shorter than what was there */
    line += sizeof CLOSE - 1;
  }
  memmove(line, end, front->bytes + front->to - end);
  front->to -= end - line;
  pair->port = port;
  return 1;
}

/* Begin to connect, to the other family's loopback where one refuses. */
static int connect_pair(struct pair *pair, int family) {
  pair->program.fd = connect_to(family, pair->port);
  if (pair->program.fd < 0 && family == AF_INET) return connect_pair(pair, AF_INET6);
  pair->is_connected = family == AF_INET ? 0 : -1;  /* below zero: nothing is left to try */
  return pair->program.fd >= 0;
}

static int finish_connecting(struct pair *pair) {
  int problem = 0;
  socklen_t size = sizeof problem;
  getsockopt(pair->program.fd, SOL_SOCKET, SO_ERROR, &problem, &size);
  if (!problem) {
    pair->is_connected = 1;
    return !pair->starts;
  }
  close(pair->program.fd);
  pair->program.fd = -1;
  return pair->is_connected == 0 && connect_pair(pair, AF_INET6);
}

static int is_empty(const struct side *side) { return side->from == side->to; }

static void drop(struct side *side) { side->from = side->to = 0; }

/* Return 0 where the connection is broken. */
static int read_side(struct side *side) {
  if (side->from) {
    memmove(side->bytes, side->bytes + side->from, side->to - side->from);
    side->to -= side->from;
    side->from = 0;
  }
  if (side->to == ROOM) return 1;
  ssize_t count = recv(side->fd, side->bytes + side->to, ROOM - side->to, 0);
  if (count < 0) return errno == EAGAIN || errno == EINTR;
  side->to += count;
  side->is_over = !count;
  return 1;
}

static int write_side(struct side *side, int fd) {
  ssize_t count = send(fd, side->bytes + side->from, side->to - side->from, MSG_NOSIGNAL);
  if (count < 0) return errno == EAGAIN || errno == EINTR;
  side->from += count;
  if (side->from == side->to) drop(side);
  return 1;
}

/* Name what has to happen for a pair to go on; -1 leaves a side out. */
static void choose(const struct pair *pair, struct pollfd *front, struct pollfd *program) {
  *front = (struct pollfd){.fd = pair->front.fd};
  *program = (struct pollfd){.fd = pair->program.fd};
  if (program->fd >= 0 && pair->is_connected < 1) {
    program->events = POLLOUT;
    front->fd = -1;
    return;
  }
  int has_room = pair->front.to - pair->front.from < ROOM;
  front->events = (has_room && !pair->front.is_over ? POLLIN : 0) | (is_empty(&pair->program) ? 0 : POLLOUT);
  has_room = pair->program.to - pair->program.from < ROOM;
  program->events = (has_room ? POLLIN : 0) | (is_empty(&pair->front) ? 0 : POLLOUT);
  if (pair->program.is_over) program->events = 0;
  if (!front->events) front->fd = -1;
  if (!program->events) program->fd = -1;
}

/* Go on with a pair; return 0 where it is over. */
static int go_on(struct pair *pair, int front, int program) {
  if (pair->program.fd < 0) {
    /* Nor is anybody waited for longer who sends a head byte by byte. */
    if (now() - pair->since >= WAIT_SECONDS) return 0;
    if (!front) return 1;
    if (!read_side(&pair->front)) return 0;
    int found = pair->port == NOWHERE ? read_head(pair) : 1;
    if (found < 1 || (pair->front.is_over && !pair->starts)) return !found && !pair->front.is_over;
    if (pair->tells) {
      pair->tells(pair->front.fd);
      return 0;
    }
    return (pair->starts && !pair->front.is_over) || connect_pair(pair, AF_INET);
  }
  if (pair->is_connected < 1) return !program || finish_connecting(pair);
  const int came = POLLIN | POLLHUP | POLLERR;
  if ((front & came) && !pair->front.is_over && !read_side(&pair->front)) return 0;
  if ((program & came) && !pair->program.is_over && !read_side(&pair->program)) return 0;
  /* A program that reads no more may have said why. */
  if (pair->program.is_over || (!is_empty(&pair->front) && !write_side(&pair->front, pair->program.fd))) drop(&pair->front);
  if (!is_empty(&pair->program) && !write_side(&pair->program, pair->front.fd)) return 0;
  /* nginx closes the whole of a connection, so nobody is left who would read. */
  if (pair->front.is_over) return !is_empty(&pair->front);
  if (!pair->program.is_over || !is_empty(&pair->program)) return 1;
  /* What the program said arrives as long as what is still sent to it is read here. */
  if (pair->port) {
    shutdown(pair->front.fd, SHUT_WR);
    pair->port = 0;
    pair->since = now();
  }
  return now() - pair->since < WAIT_SECONDS;
}

/* Run the command that follows the head, as any program of the workspace's: it goes on when this one ends. */
static void start_program(struct side *front, int port) {
  static struct { int port; pid_t pid; } started[64];
  static size_t count;
  char *command = memmem(front->bytes, front->to, BLANK, 4);
  if (!command || front->to == ROOM) return;
  for (size_t at = 0; at < 64; at++) {
    if (started[at].pid > 0 && started[at].port == port && !kill(started[at].pid, 0)) return;  /* it does not listen yet */
  }
  pid_t pid = fork();
  if (pid) {
    started[count % 64].port = port;
    started[count++ % 64].pid = pid;
    return;
  }
  front->bytes[front->to] = '\0';
  setsid();
  signal(SIGPIPE, SIG_DFL);
  signal(SIGCHLD, SIG_DFL);
  const char *home = getenv("HOME");
  if (home && chdir(home) < 0) perror(home);
  execl("/bin/sh", "sh", "-c", command + 4, NULL);
  execl("/.mlhub/bin/sh", "sh", "-c", command + 4, NULL);
  _exit(127);
}

static void accept_one(int listener) {
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), place = 0;
  while (place < PAIRS && pairs[place]) place++;
  struct pair *pair = fd >= 0 && place < PAIRS ? calloc(1, sizeof *pair) : NULL;
  if (pair) {
    pair->front = (struct side){.fd = fd, .bytes = malloc(ROOM)};
    pair->program = (struct side){.fd = -1, .bytes = malloc(ROOM)};
    pair->port = NOWHERE;
    pair->since = now();
    if (pair->front.bytes && pair->program.bytes) {
      pairs[place] = pair;
      return;
    }
    end_pair(pair);
  } else if (fd >= 0) {
    close(fd);
  }
}

static void serve(int listener) {
  static struct pollfd polled[1 + 2 * PAIRS];
  for (;;) {
    int has_pairs = 0;
    polled[0] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (int at = 0; at < PAIRS; at++) {
      has_pairs |= pairs[at] != NULL;
      if (pairs[at]) choose(pairs[at], &polled[1 + 2 * at], &polled[2 + 2 * at]);
      else polled[1 + 2 * at].fd = polled[2 + 2 * at].fd = -1;
    }
    if (poll(polled, 1 + 2 * PAIRS, has_pairs ? 1000 : -1) < 0) continue;
    for (int at = 0; at < PAIRS; at++) {
      if (!pairs[at]) continue;
      int front = polled[1 + 2 * at].fd < 0 ? 0 : polled[1 + 2 * at].revents;
      int program = polled[2 + 2 * at].fd < 0 ? 0 : polled[2 + 2 * at].revents;
      if (!go_on(pairs[at], front, program)) {
        if (pairs[at]->starts && pairs[at]->front.is_over && pairs[at]->is_connected < 1) {
          start_program(&pairs[at]->front, pairs[at]->port);
        }
        end_pair(pairs[at]);
        pairs[at] = NULL;
      }
    }
    if (polled[0].revents) accept_one(listener);
  }
}

/* Listen on all addresses of both families, or of the one that there is. */
static int listen_on(int port) {
  int yes = 1, no = 0;
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
  int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd >= 0) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    if (!bind(fd, (struct sockaddr *)&six, sizeof six) && !listen(fd, 64)) return fd;
    close(fd);
  }
  fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  return !bind(fd, (struct sockaddr *)&four, sizeof four) && !listen(fd, 64) ? fd : -1;
}

int main(int count, char **words) {
  if (count != 2 || !fgets(key, sizeof key, stdin)) return 64; /* EX_USAGE of sysexits.h */
  key[strcspn(key, "\n")] = '\0';
  if (!*key) return 64;
  int listener = listen_on(atoi(words[1]));
  if (listener < 0) {
    perror("relay");
    return 69; /* EX_UNAVAILABLE */
  }
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, SIG_IGN);
  /* What is started writes to the log, as this does. */
  if (daemon(0, 1) < 0 || !freopen("/dev/null", "r", stdin)) return 71; /* EX_OSERR */
  serve(listener);
}
