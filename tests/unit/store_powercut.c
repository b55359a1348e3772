/*
 * Power cuts.  One run is recorded below SQLite: each write, each sync, and when
 * each record was acknowledged.  Then images of the disk are made as a cut at a
 * random operation could leave them: what was synced is there, of what was not any
 * part may be missing or torn.  Each image must open, hold its chain, and hold
 * every record that was acknowledged before the cut.  STORE_IMAGES=1000 for a long run.
 */
#include "tests/unit/store_harness.h"
#include "tests/unit/store_shim.h"

#include <stdatomic.h>

#define IMAGES    150 /* unless STORE_IMAGES says otherwise */
#define RECORDS   240
#define IN_FLIGHT 6
#define BIG_BYTES 400000 /* of facts, in some: enough in all for checkpoints to fall into the run */
#define OPS_MAX   20000
#define FILE_MAX  (32u << 20)
#define SECTOR    512
#define PAGE      4096

enum { DB, WAL, FILES };
enum op_kind { OP_WRITE, OP_TRUNCATE, OP_SYNC };

struct op {
    enum op_kind kind;
    int file;
    int64_t at;
    size_t n;
    unsigned char *bytes;
};

static struct op *ops;
static _Atomic size_t n_ops;
static _Atomic bool recording;

static struct ack {
    uint64_t id;
    size_t ops; /* done when it was called back */
} acks[RECORDS];
static size_t n_acks;

static int file_of(const struct shim_file *f)
{
    if (f->name == NULL || !recording)
        return -1;
    size_t n = strlen(f->name);
    if (n > 4 && strcmp(f->name + n - 4, "-wal") == 0)
        return WAL;
    return n > 3 && strcmp(f->name + n - 3, ".db") == 0 ? DB : -1;
}

static int record_op(struct op op)
{
    if (op.file == -1)
        return SQLITE_OK;
    ck_assert_uint_lt(n_ops, OPS_MAX);
    ops[n_ops] = op;
    n_ops++;
    return SQLITE_OK;
}

static int on_write(struct shim_file *f, const void *p, int n, sqlite3_int64 at)
{
    int file = file_of(f);
    if (file == -1)
        return SQLITE_OK;
    /* A large one is on its way page by page: of each, any part may arrive, and in any order. */
    for (size_t done = 0, some; done < (size_t)n; done += some) {
        size_t left = (size_t)n - done, to_page = PAGE - ((size_t)at + done) % PAGE;
        some = left < to_page ? left : to_page;
        unsigned char *copy = malloc(some);
        memcpy(copy, (const char *)p + done, some);
        record_op(
            (struct op){.kind = OP_WRITE, .file = file, .at = at + (sqlite3_int64)done, .n = some, .bytes = copy});
    }
    return SQLITE_OK;
}

static int on_truncate(struct shim_file *f, sqlite3_int64 size)
{
    return record_op((struct op){.kind = OP_TRUNCATE, .file = file_of(f), .at = size});
}

static int on_sync(struct shim_file *f)
{
    return record_op((struct op){.kind = OP_SYNC, .file = file_of(f)});
}

/* --- the run ---------------------------------------------------------------------------- */

struct slot {
    struct sample sample;
};
static size_t n_submitted;

static void submit_next(struct slot *slot);

static void on_recorded(enum err status, void *arg)
{
    struct slot *slot = arg;
    ck_assert_int_eq(status, OK);
    acks[n_acks++] = (struct ack){slot->sample.row.id, n_ops};
    submit_next(slot);
}

static void submit_next(struct slot *slot)
{
    static char big[BIG_BYTES];
    if (n_submitted == RECORDS)
        return;
    n_submitted++;
    sample_init(&slot->sample, "a@example.com", &newsletter, OUTCOME_BLOCK);
    if (n_submitted % 7 == 0) {
        memset(big, ' ', sizeof big);
        big[0] = '{';
        big[sizeof big - 1] = '}';
        slot->sample.row.facts = (struct slice){big, sizeof big};
    }
    slot->sample.record.r = (struct store_request){.kind = STORE_RECORD, .cb = on_recorded, .arg = slot};
    store_submit(store, &slot->sample.record.r);
}

static void record_run(void)
{
    static struct slot slots[IN_FLIGHT];
    recording = true;
    harness_open(0);
    for (size_t i = 0; i < IN_FLIGHT; i++)
        submit_next(&slots[i]);
    while (n_acks < RECORDS)
        poll_store();
    recording = false;
    store_close(&store);
}

/* --- images ----------------------------------------------------------------------------- */

struct image {
    unsigned char *bytes;
    size_t n;
};

static uint32_t next_random(void)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (uint32_t)(x >> 16);
}

static void apply(struct image *to, const struct op *op, size_t n)
{
    if (op->kind == OP_TRUNCATE) {
        to->n = (size_t)op->at;
        return;
    }
    ck_assert_uint_le((size_t)op->at + n, FILE_MAX);
    if (n > 0)
        memcpy(to->bytes + op->at, op->bytes, n);
    if ((size_t)op->at + n > to->n)
        to->n = (size_t)op->at + n;
}

/* Nothing, all, or the first sectors of a write that no sync stands behind. */
static size_t surviving_bytes(const struct op *op)
{
    switch (next_random() % 3) {
    case 0:
        return 0;
    case 1:
        return op->n;
    default:
        return op->n < SECTOR ? 0 : next_random() % (op->n / SECTOR) * SECTOR;
    }
}

static void make_image(struct image images[FILES], size_t cut)
{
    size_t synced[FILES] = {0, 0}; /* operations before this one are on the disk */
    for (size_t i = 0; i < cut; i++) {
        if (ops[i].kind == OP_SYNC)
            synced[ops[i].file] = i;
    }
    for (size_t i = 0; i < cut; i++) {
        const struct op *op = &ops[i];
        if (op->kind == OP_SYNC)
            continue;
        size_t n = i < synced[op->file] ? op->n : surviving_bytes(op);
        if (i < synced[op->file] || n > 0 || (op->kind == OP_TRUNCATE && next_random() % 2 == 0))
            apply(&images[op->file], op, n);
    }
}

static void file_name(char *out, size_t size, const char *suffix)
{
    snprintf(out, size, "%s%s", harness_path, suffix);
}

static void read_file(const char *suffix, struct image *out)
{
    char name[128];
    file_name(name, sizeof name, suffix);
    FILE *f = fopen(name, "r");
    out->n = f == NULL ? 0 : fread(out->bytes, 1, FILE_MAX, f);
    if (f != NULL)
        fclose(f);
}

static void write_file(const char *suffix, const struct image *image)
{
    char name[128];
    file_name(name, sizeof name, suffix);
    FILE *f = fopen(name, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(image->bytes, 1, image->n, f), image->n);
    fclose(f);
}

static void remove_file(const char *suffix)
{
    char name[128];
    file_name(name, sizeof name, suffix);
    unlink(name);
}

/* How many acknowledged records the image was asked for. */
static size_t check_image(size_t cut)
{
    size_t asked = 0;
    arena_init(&arena, 256u << 20);
    harness_open(0);
    assert_chain_holds();
    for (size_t i = 0; i < n_acks && acks[i].ops <= cut; i++) {
        struct store_decision_get get = {.arena = &arena, .id = acks[i].id};
        ck_assert_msg(ASK(&get, DECISION_GET) == OK, "record %zu of %zu is lost by a cut at %zu", i, n_acks, cut);
        asked++;
    }
    store_close(&store);
    arena_clear(&arena);
    return asked;
}

START_TEST(a_power_cut_loses_nothing_acknowledged)
{
    size_t n_images = harness_count("STORE_IMAGES", IMAGES);
    ops = calloc(OPS_MAX, sizeof *ops);
    shim_register((struct shim_hooks){.write = on_write, .sync = on_sync, .truncate = on_truncate});
    harness_new_dir();
    harness_open(0);
    store_close(&store); /* whole and synced: where the images start from */
    struct image start = {.bytes = malloc(FILE_MAX)};
    read_file("", &start);
    record_run();
    size_t db_syncs = 0, asked = 0;
    for (size_t i = 0; i < n_ops; i++)
        db_syncs += ops[i].kind == OP_SYNC && ops[i].file == DB;
    ck_assert_uint_gt(db_syncs, 0); /* checkpoints fell into the run */
    struct image images[FILES] = {{.bytes = malloc(FILE_MAX)}, {.bytes = malloc(FILE_MAX)}};
    for (size_t k = 0; k < n_images; k++) {
        size_t cut = k == 0 ? n_ops : next_random() % n_ops;
        memcpy(images[DB].bytes, start.bytes, start.n);
        images[DB].n = start.n;
        images[WAL].n = 0;
        make_image(images, cut);
        remove_file("-shm");
        write_file("", &images[DB]);
        write_file("-wal", &images[WAL]);
        asked += check_image(cut);
    }
    ck_assert_uint_gt(asked, n_images * RECORDS / 4);
    for (size_t i = 0; i < n_ops; i++)
        free(ops[i].bytes);
    free(ops);
    free(start.bytes);
    free(images[DB].bytes);
    free(images[WAL].bytes);
    harness_remove_dir();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store_powercut");
    TCase *c = tcase_create("images");
    tcase_set_timeout(c, 240 + (double)harness_count("STORE_IMAGES", IMAGES));
    tcase_add_test(c, a_power_cut_loses_nothing_acknowledged);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
