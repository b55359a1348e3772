/*
 * Migrations: the numbered texts of store/schema, each run once, in one transaction
 * with the new version.  A database of a newer schema is refused before anything
 * else is read from it.
 */
#include "store/sqlite.h"

#include <stdlib.h>

#include "postern/log.h"

bool sqlite_exec(sqlite3 *db, const char *sql, struct errmsg *e)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return true;
    errmsg_set(e, "%s: %s", sqlite3_db_filename(db, "main"), sqlite3_errmsg(db));
    return false;
}

/* -1 with the reason in e; 0 for a new database. */
static int64_t read_version(sqlite3 *db, struct errmsg *e)
{
    sqlite3_stmt *st = NULL;
    int64_t version = -1;
    const char *tables = "SELECT count(*), total(name = 'schema_version') FROM sqlite_schema WHERE type = 'table'";
    if (sqlite3_prepare_v2(db, tables, -1, &st, NULL) != SQLITE_OK || sqlite3_step(st) != SQLITE_ROW)
        goto end;
    bool empty = sqlite3_column_int64(st, 0) == 0;
    bool ours = sqlite3_column_int64(st, 1) == 1;
    sqlite3_finalize(st);
    st = NULL;
    if (empty)
        return 0;
    if (!ours) {
        errmsg_set(e, "%s: is a database, but not one of Postern's (no table schema_version): name another file",
                   sqlite3_db_filename(db, "main"));
        return -1;
    }
    if (sqlite3_prepare_v2(db, "SELECT max(version) FROM schema_version", -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW)
        version = sqlite3_column_int64(st, 0);
end:
    if (version == -1)
        errmsg_set(e, "%s: %s", sqlite3_db_filename(db, "main"), sqlite3_errmsg(db));
    sqlite3_finalize(st);
    return version;
}

/* packed(decision, at_ms, contact_hash, subject, channel, class, counting, category, mail): for schema 9. */
static void packed_function(sqlite3_context *out, int n, sqlite3_value **v)
{
    (void)n;
    struct packed packed = {0};
    struct packed_message m = {.decision = (uint64_t)sqlite3_value_int64(v[0]),
                               .at_ms = sqlite3_value_int64(v[1]),
                               .contact_hash = (uint64_t)sqlite3_value_int64(v[2]),
                               .subject_id = (uint32_t)sqlite3_value_int64(v[3]),
                               .channel = (uint8_t)sqlite3_value_int64(v[4]),
                               .class = (uint8_t)sqlite3_value_int64(v[5]),
                               .counting = (uint8_t)sqlite3_value_int64(v[6]),
                               .mail = sqlite3_value_int64(v[8])};
    m.category.p = (const char *)sqlite3_value_text(v[7]);
    m.category.n = (size_t)sqlite3_value_bytes(v[7]);
    packed_add(&packed, &m);
    sqlite3_result_blob64(out, packed.p, packed.n, free);
}

static bool apply(sqlite3 *db, int64_t from, struct errmsg *e)
{
    sqlite3_create_function(db, "packed", 9, SQLITE_UTF8 | SQLITE_DIRECTONLY, NULL, packed_function, NULL, NULL);
    if (from == 0 && !sqlite_exec(db, "CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT", e))
        return false;
    for (size_t i = (size_t)from; i < sqlite_schema_n; i++) {
        char note[80];
        sqlite3_snprintf(sizeof note, note, "INSERT INTO schema_version VALUES (%d)", (int)i + 1);
        if (!sqlite_exec(db, sqlite_schema[i], e) || !sqlite_exec(db, note, e))
            return false;
    }
    return true;
}

bool sqlite_migrate(sqlite3 *db, const char *path, bool read_only, struct errmsg *e)
{
    int64_t version = read_version(db, e);
    if (version == -1)
        return false;
    if ((size_t)version > sqlite_schema_n) {
        errmsg_set(e, "%s: database has schema %lld, this posternd knows %zu: start a newer one", path,
                   (long long)version, sqlite_schema_n);
        return false;
    }
    if ((size_t)version == sqlite_schema_n)
        return true;
    if (read_only) {
        errmsg_set(e, "%s: database has schema %lld, this program needs %zu: start posternd once to migrate it", path,
                   (long long)version, sqlite_schema_n);
        return false;
    }
    if (!sqlite_exec(db, "BEGIN IMMEDIATE", e))
        return false;
    if (version > 0) /* it may take minutes, and nobody is served meanwhile */
        log_line(LOG_INFO, NULL, "store", "migrating", "from=%lld to=%zu", (long long)version, sqlite_schema_n);
    if (apply(db, version, e) && sqlite_exec(db, "COMMIT", e))
        return true;
    sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return false;
}
