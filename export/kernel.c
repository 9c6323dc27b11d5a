/* One pass over event files: framing, both checksums, and events of plain scalars; see kernel.py.
 *
 * The pass is strict where it need not understand: an event that is not a wall time, a step and values of a tag and a
 * float, in this order, is left to Python, and so is everything from the first record that does not check.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { VERSION = 3 };

struct state {
    /* rows */
    int32_t *tag;
    int64_t *step;
    double *wall;
    double *value;
    int64_t *origin; /* offset of the row's payload */
    int64_t rows, row_room;
    /* payloads that are left to Python: offsets and sizes */
    int64_t *left, *left_size;
    int64_t lefts, left_room;
    /* tags: their bytes end to end, where each begins, the tag that came after it last, and a hash table of them */
    uint8_t *pool;
    int64_t pool_size, pool_room;
    int64_t *tag_start; /* tag t has the bytes tag_start[t] to tag_start[t + 1] */
    int32_t *next;
    int32_t tags, tag_room;
    int32_t *slots; /* -1: empty */
    uint32_t slot_mask;
};

static uint32_t table[8][256];

static void fill(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
        table[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++)
        for (int place = 1; place < 8; place++)
            table[place][byte] = table[place - 1][byte] >> 8 ^ table[0][table[place - 1][byte] & 255];
}

static uint64_t load64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, 8);
    return value;
}

static uint32_t load32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

static uint32_t crc_tables(const uint8_t *at, int64_t size) {
    uint32_t crc = ~0u;
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t word = load64(at) ^ crc;
        crc = 0;
        for (int place = 0; place < 8; place++) crc ^= table[7 - place][word >> 8 * place & 255];
    }
    for (; size > 0; at++, size--) crc = crc >> 8 ^ table[0][(crc ^ *at) & 255];
    return ~crc;
}

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("sse4.2"))) static uint32_t crc_sse(const uint8_t *at, int64_t size) {
    uint64_t crc = ~0u;
    for (; size >= 8; at += 8, size -= 8) crc = __builtin_ia32_crc32di(crc, load64(at));
    uint32_t low = (uint32_t)crc;
    if (size & 4) low = __builtin_ia32_crc32si(low, load32(at)), at += 4;
    for (size &= 3; size > 0; at++, size--) low = __builtin_ia32_crc32qi(low, *at);
    return ~low;
}
#endif

static uint32_t (*crc32c)(const uint8_t *, int64_t) = 0;

/* Call once, before anything else; `plain` asks for the way that every processor has. Returns the version of
 * the interface, which kernel.py has too, or 0 if it cannot be used here. */
int orch_begin(int plain) {
    const uint16_t one = 1;
    if (*(const uint8_t *)&one != 1) return 0; /* words are read as they lie in the file */
    fill();
    crc32c = crc_tables;
#if defined(__x86_64__) && defined(__GNUC__)
    if (!plain && __builtin_cpu_supports("sse4.2")) crc32c = crc_sse;
#endif
    return VERSION;
}

uint32_t orch_crc(const uint8_t *at, int64_t size) { return crc32c(at, size); }

static uint32_t masked(const uint8_t *at, int64_t size) {
    uint32_t crc = crc32c(at, size);
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

/* Read a varint; returns where it ends, or 0 if it does not end in time. */
static const uint8_t *varint(const uint8_t *at, const uint8_t *end, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 70 && at < end; shift += 7) {
        uint8_t byte = *at++;
        if (shift < 64) *value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return at;
    }
    return 0;
}

static uint32_t hash(const uint8_t *at, int64_t size) {
    uint64_t value = 0x9E3779B97F4A7C15u ^ (uint64_t)size;
    for (; size >= 8; at += 8, size -= 8) value = (value ^ load64(at)) * 0xD6E8FEB86659FD93u, value ^= value >> 32;
    uint64_t rest = 0;
    memcpy(&rest, at, (size_t)size);
    value = (value ^ rest) * 0xD6E8FEB86659FD93u;
    return (uint32_t)(value >> 32);
}

static int is(const struct state *s, int32_t code, const uint8_t *at, int64_t size) {
    int64_t start = s->tag_start[code];
    return s->tag_start[code + 1] - start == size && !memcmp(s->pool + start, at, (size_t)size);
}

/* Return the code of a tag that is known, -1 otherwise, and the slot where it would be. */
static int32_t find(const struct state *s, const uint8_t *at, int64_t size, uint32_t *slot) {
    for (*slot = hash(at, size) & s->slot_mask;; *slot = (*slot + 1) & s->slot_mask) {
        int32_t code = s->slots[*slot];
        if (code < 0 || is(s, code, at, size)) return code;
    }
}

/* Add a tag and return its code; -1 if there is no room. */
int32_t orch_tag(struct state *s, const uint8_t *at, int64_t size) {
    uint32_t slot;
    int32_t code = find(s, at, size, &slot);
    if (code >= 0) return code;
    if (s->tags >= s->tag_room || s->pool_size + size > s->pool_room) return -1;
    code = s->tags++;
    memcpy(s->pool + s->pool_size, at, (size_t)size);
    s->pool_size += size;
    s->tag_start[code + 1] = s->pool_size;
    s->next[code] = 0;
    s->slots[slot] = code;
    return code;
}

static int is_ascii(const uint8_t *at, int64_t size) {
    uint8_t all = 0;
    for (int64_t i = 0; i < size; i++) all |= at[i];
    return all < 128;
}

/* Decode an event; returns 0, and adds no row, if it is not of plain scalars. */
static int event(struct state *s, const uint8_t *begin, int64_t size, int64_t origin, int32_t *last) {
    const uint8_t *at = begin, *end = begin + size;
    uint64_t step = 0, length;
    double wall;
    if (size < 11 || *at != 0x09) return 0;
    memcpy(&wall, at + 1, 8);
    at += 9;
    if (*at == 0x10) {
        at = varint(at + 1, end, &step);
        if (!at || at >= end) return 0;
    }
    if (*at == 0x1A) { /* the file's version: nothing to read */
        at = varint(at + 1, end, &length);
        return at && length == (uint64_t)(end - at);
    }
    if (*at != 0x2A) return 0;
    at = varint(at + 1, end, &length);
    if (!at || at >= end || length != (uint64_t)(end - at)) return 0;
    int64_t row = s->rows;
    int32_t before = *last;
    while (at < end) {
        if (*at != 0x0A) return 0;
        at = varint(at + 1, end, &length);
        if (!at || length > (uint64_t)(end - at)) return 0;
        const uint8_t *stop = at + length, *name = at;
        uint64_t name_size = 0;
        if (at < stop && *at == 0x0A) {
            name = varint(at + 1, stop, &name_size);
            if (!name || name_size > (uint64_t)(stop - name)) return 0;
            at = name + name_size;
        }
        if (stop - at != 5 || *at != 0x15 || row >= s->row_room) return 0;
        int32_t code = before >= 0 ? s->next[before] : 0;
        if (code >= s->tags || !is(s, code, name, (int64_t)name_size)) {
            uint32_t slot;
            code = find(s, name, (int64_t)name_size, &slot);
            if (code < 0) {
                if (!is_ascii(name, (int64_t)name_size)) return 0;
                code = orch_tag(s, name, (int64_t)name_size);
                if (code < 0) return 0;
            }
            if (before >= 0) s->next[before] = code;
        }
        float value;
        memcpy(&value, at + 1, 4);
        s->tag[row] = code;
        s->step[row] = (int64_t)step;
        s->wall[row] = wall;
        s->value[row] = value;
        s->origin[row] = origin;
        row++;
        before = code;
        at = stop;
    }
    s->rows = row;
    *last = before;
    return 1;
}

/* What a pass over a piece found: where its first record is that is not whole, and how many rows, whole records and
 * payloads left to Python there are. */
struct found {
    int64_t stop, rows, records, lefts;
};

/* Decode the records from `at` on; returns where the first one is that is not whole, or `end`. Records whose events
 * were left to Python are not counted in *records. */
static int64_t decode(struct state *s, const uint8_t *buffer, int64_t at, int64_t end, int64_t *records) {
    int32_t last = -1;
    while (end - at >= 16) {
        const uint8_t *head = buffer + at;
        uint64_t size = load64(head);
        if (size > (uint64_t)(end - at - 16)) break;
        if (masked(head, 8) != load32(head + 8)) break;
        if (masked(head + 12, (int64_t)size) != load32(head + 12 + size)) break;
        if (event(s, head + 12, (int64_t)size, at + 12, &last)) {
            ++*records;
        } else {
            if (s->lefts >= s->left_room) break;
            s->left[s->lefts] = at + 12;
            s->left_size[s->lefts++] = (int64_t)size;
        }
        at += (int64_t)size + 16;
    }
    return at;
}

/* Decode the pieces of a buffer: pairs of where each begins and ends. */
void orch_decode(struct state *s, const uint8_t *buffer, const int64_t *pieces, int64_t count, struct found *found) {
    for (int64_t i = 0; i < count; i++) {
        int64_t rows = s->rows, lefts = s->lefts;
        found[i].records = 0;
        found[i].stop = decode(s, buffer, pieces[2 * i], pieces[2 * i + 1], &found[i].records);
        found[i].rows = s->rows - rows;
        found[i].lefts = s->lefts - lefts;
    }
}
