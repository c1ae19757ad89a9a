/* The loops of the load generator: what happens for each message, without Python. load.py compiles and calls them.
 *
 * Every function drives connections that are open already, or opens its own (handshakes), from one thread with epoll,
 * and returns 0, or a negative error number: -EPROTO for bytes that are no unmasked data frames, -ECONNRESET for a
 * connection that the server has closed, -ETIMEDOUT if nothing has come for PATIENCE milliseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 10000
#define EVENTS 1024
#define BUFFER (1 << 18)
#define HEAD 4096

typedef int (*tls_call)(void *, void *, int);
typedef struct { const char *data; int64_t size; } burst;
typedef struct { int64_t count; double seconds; } outcome;
/* A connection: the frame that is being read, and the burst that is being written. */
typedef struct {
    int fd, head_size, wants_write;
    void *tls;
    unsigned char head[10];
    uint64_t payload_left;
    int64_t awaited, written, turn;
} conn;

static char buffer[BUFFER];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static int watch(int epoll, int operation, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = {.events = events, .data = {.u64 = data}};
    return epoll_ctl(epoll, operation, fd, &event) < 0 ? -errno : 0;
}

/* How many frames end within these bytes. Control frames are not counted, a close frame is an error: -EPROTO. */
static int64_t frames_in(conn *c, const unsigned char *data, int64_t size) {
    int64_t frames = 0, at = 0;
    while (at < size) {
        if (c->payload_left) {
            uint64_t here = (uint64_t)(size - at) < c->payload_left ? (uint64_t)(size - at) : c->payload_left;
            at += here;
            c->payload_left -= here;
            if (c->payload_left) break;
        } else {
            c->head[c->head_size++] = data[at++];
            if (c->head_size < 2) continue;
            int length = c->head[1], opcode = c->head[0] & 15;
            if (length & 128 || opcode == 8) return -EPROTO;
            int wanted = length < 126 ? 2 : length == 126 ? 4 : 10;
            if (c->head_size < wanted) continue;
            uint64_t payload = wanted == 2 ? (uint64_t)length : 0;
            for (int i = 2; i < wanted; i++) payload = payload << 8 | c->head[i];
            c->payload_left = payload;
            if (payload) continue;
        }
        frames += (c->head[0] & 15) < 8 && c->head[0] & 128; /* the last frame of a message */
        c->head_size = 0;
    }
    return frames;
}

/* Bytes read; 0: none at the moment; negative: an error. */
static int64_t read_some(conn *c, tls_call tls_read) {
    int64_t size = c->tls ? tls_read(c->tls, buffer, BUFFER) : recv(c->fd, buffer, BUFFER, MSG_DONTWAIT);
    if (size > 0) return size;
    return size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : -ECONNRESET;
}

/* Writes as much of the burst as there is room for. */
static int write_some(int epoll, conn *c, uint64_t data, burst *b, tls_call tls_write) {
    while (c->written < b->size) {
        const char *from = b->data + c->written;
        int64_t left = b->size - c->written;
        int64_t size = c->tls ? tls_write(c->tls, (void *)from, (int)left)
                              : send(c->fd, from, left, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (size <= 0 && !(errno == EAGAIN || errno == EWOULDBLOCK)) return -ECONNRESET;
        if (size <= 0) break;
        c->written += size;
    }
    int wants_write = c->written < b->size;
    if (wants_write == c->wants_write) return 0;
    c->wants_write = wants_write;
    return watch(epoll, EPOLL_CTL_MOD, c->fd, wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN, data);
}

/* Sends a burst of in_flight messages on each connection, awaits as many, and does it again, with the next burst. */
static int echo_on(int epoll, conn *conns, int connections, burst *bursts, int kinds, int in_flight, double warm_up,
                   double seconds, tls_call tls_read, tls_call tls_write, outcome *out) {
    struct epoll_event events[EVENTS];
    int64_t total = 0, before = 0;
    double time = now(), begin = time + warm_up, end = begin + seconds, began = 0;
    for (int i = 0; i < connections; i++) {
        conns[i].awaited = in_flight;
        conns[i].turn = i % kinds;
        int error = write_some(epoll, &conns[i], i, &bursts[i % kinds], tls_write);
        if (error) return error;
    }
    while ((time = now()) < end) {
        if (!began && time >= begin) began = time, before = total;
        int ready = epoll_wait(epoll, events, EVENTS, PATIENCE);
        if (ready == 0) return -ETIMEDOUT;
        for (int i = 0; i < ready; i++) {
            conn *c = &conns[events[i].data.u64];
            int64_t size = 1;
            int error;
            if (events[i].events & EPOLLOUT &&
                (error = write_some(epoll, c, events[i].data.u64, &bursts[c->turn], tls_write)))
                return error;
            /* Of TLS, all that is there: what OpenSSL has in its buffers is nothing that epoll knows of. */
            while (c->awaited && (size = read_some(c, tls_read))) {
                if (size < 0) return size;
                int64_t frames = frames_in(c, (unsigned char *)buffer, size);
                if (frames < 0 || frames > c->awaited) return -EPROTO;
                total += frames;
                c->awaited -= frames;
                if (!c->tls) break;
            }
            if (c->awaited) continue;
            c->awaited = in_flight;
            c->written = 0;
            c->turn = (c->turn + 1) % kinds;
            if ((error = write_some(epoll, c, events[i].data.u64, &bursts[c->turn], tls_write))) return error;
        }
    }
    out->count = total - before;
    out->seconds = time - (began ? began : begin);
    return 0;
}

/* Every credit, a frame on the first connection, is answered by a frame on each of them; so many are under way. */
static int fan_out_on(int epoll, conn *conns, int connections, burst *credit, int credits, double warm_up,
                      double seconds, outcome *out) {
    struct epoll_event events[EVENTS];
    int64_t total = 0, before = 0, rounds = 0;
    double time = now(), begin = time + warm_up, end = begin + seconds, began = 0;
    for (int i = 0; i < credits; i++)
        if (send(conns[0].fd, credit->data, credit->size, MSG_NOSIGNAL) != credit->size) return -ECONNRESET;
    while ((time = now()) < end) {
        if (!began && time >= begin) began = time, before = total;
        int ready = epoll_wait(epoll, events, EVENTS, PATIENCE);
        if (ready == 0) return -ETIMEDOUT;
        for (int i = 0; i < ready; i++) {
            conn *c = &conns[events[i].data.u64];
            int64_t size = read_some(c, NULL);
            if (size < 0) return size;
            int64_t frames = frames_in(c, (unsigned char *)buffer, size);
            if (frames < 0) return frames;
            total += frames;
        }
        for (; total >= (rounds + 1) * connections; rounds++)
            if (send(conns[0].fd, credit->data, credit->size, MSG_NOSIGNAL) != credit->size) return -ECONNRESET;
    }
    out->count = total - before;
    out->seconds = time - (began ? began : begin);
    return 0;
}

/* fds and, for TLS, the SSL objects of open connections; credits: 0 for echoes, else the messages of a fan-out. */
int run(const int *fds, void *const *tls, int connections, burst *bursts, int kinds, int in_flight, int credits,
        double warm_up, double seconds, tls_call tls_read, tls_call tls_write, outcome *out) {
    conn *conns = calloc(connections, sizeof(conn));
    int epoll = epoll_create1(EPOLL_CLOEXEC), error = conns && epoll >= 0 ? 0 : -ENOMEM;
    for (int i = 0; i < connections && !error; i++) {
        conns[i].fd = fds[i];
        conns[i].tls = tls ? tls[i] : NULL;
        error = watch(epoll, EPOLL_CTL_ADD, fds[i], EPOLLIN, i);
    }
    if (!error && credits) error = fan_out_on(epoll, conns, connections, bursts, credits, warm_up, seconds, out);
    else if (!error)
        error = echo_on(epoll, conns, connections, bursts, kinds, in_flight, warm_up, seconds, tls_read, tls_write, out);
    if (epoll >= 0) close(epoll);
    free(conns);
    return error;
}

/* One of those that open, shake hands and close. */
typedef struct { int fd, size, is_open; char head[HEAD]; } visit;

static int begin_visit(int epoll, visit *v, uint64_t data, int port, uint64_t number, burst *request) {
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int yes = 1;
    /* Twenty source addresses: one has too few ports for a fast server. */
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number % 20);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    v->size = v->is_open = 0;
    v->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (v->fd < 0) return -errno;
    setsockopt(v->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    setsockopt(v->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (bind(v->fd, (struct sockaddr *)&from, sizeof from) < 0) return -errno;
    if (connect(v->fd, (struct sockaddr *)&to, sizeof to) < 0) return -errno;
    if (send(v->fd, request->data, request->size, MSG_NOSIGNAL) != request->size) return -ECONNRESET;
    return watch(epoll, EPOLL_CTL_ADD, v->fd, EPOLLIN, data);
}

/* 1: the server has answered our close frame; 0: not yet; negative: an error. Not every server ends TCP by itself. */
static int go_on(visit *v, burst *close_frame) {
    if (v->is_open) {
        int64_t size = recv(v->fd, buffer, BUFFER, MSG_DONTWAIT);
        if (size < 0 && errno == EAGAIN) return 0;
        return size > 0 ? 1 : -ECONNRESET;
    }
    int64_t size = recv(v->fd, v->head + v->size, HEAD - v->size, MSG_DONTWAIT);
    if (size < 0 && errno == EAGAIN) return 0;
    if (size <= 0) return -ECONNRESET;
    v->size += size;
    if (!memmem(v->head, v->size, "\r\n\r\n", 4)) return v->size < HEAD ? 0 : -EPROTO;
    if (v->size < 12 || memcmp(v->head, "HTTP/1.1 101", 12)) return -EPROTO;
    v->is_open = 1;
    return send(v->fd, close_frame->data, close_frame->size, MSG_NOSIGNAL) == close_frame->size ? 0 : -ECONNRESET;
}

/* Opens connections, so many at a time, and closes each as soon as its opening handshake is done. */
int handshakes(int port, int at_once, burst *request, burst *close_frame, double warm_up, double seconds, outcome *out) {
    struct epoll_event events[EVENTS];
    visit *visits = calloc(at_once, sizeof(visit));
    int epoll = epoll_create1(EPOLL_CLOEXEC), error = visits && epoll >= 0 ? 0 : -ENOMEM;
    int64_t begun = 0, total = 0, before = 0;
    double time = now(), begin = time + warm_up, end = begin + seconds, began = 0;
    for (int i = 0; i < at_once && !error; i++) error = begin_visit(epoll, &visits[i], i, port, begun++, request);
    while (!error && (time = now()) < end) {
        if (!began && time >= begin) began = time, before = total;
        int ready = epoll_wait(epoll, events, EVENTS, PATIENCE);
        if (ready == 0) error = -ETIMEDOUT;
        for (int i = 0; i < ready && !error; i++) {
            visit *v = &visits[events[i].data.u64];
            int ended = go_on(v, close_frame);
            if (ended < 0) error = ended;
            if (ended <= 0) continue;
            total++;
            close(v->fd);
            error = begin_visit(epoll, v, events[i].data.u64, port, begun++, request);
        }
    }
    out->count = total - before;
    out->seconds = time - (began ? began : begin);
    for (int i = 0; visits && i < at_once; i++)
        if (visits[i].fd > 0) close(visits[i].fd);
    if (epoll >= 0) close(epoll);
    free(visits);
    return error;
}
