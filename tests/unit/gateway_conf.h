/* A folder with a configuration and a pack, for tests of configurations. */
#ifndef TESTS_UNIT_GATEWAY_CONF_H
#define TESTS_UNIT_GATEWAY_CONF_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/conf.h"
#include "postern/log.h"

#define PACK_BASE                                                                                                      \
    "version: 2\nname: test\ntitle: T\nrules:\n  - name: a\n    source: S\n    as_of: 2026-01-01\n"                    \
    "    confidence: B\n    review_by: 2027-01-01\n    classes: [marketing]\n    channels: [sms, voice]\n"
#define PACK_RULE(name, confidence)                                                                                    \
    "  - name: " name "\n    source: S\n    as_of: 2025-12-01\n    confidence: " confidence                            \
    "\n    review_by: 2026-12-01\n    classes: [marketing]\n    channels: [sms, voice]\n"

static char dir[64], file[96], pack[112];

static inline void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(text, 1, strlen(text), f), strlen(text));
    ck_assert_int_eq(fclose(f), 0);
}

static inline void setup(void)
{
    char rules[96];
    snprintf(dir, sizeof dir, "/tmp/postern_conf_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/postern.yaml", dir);
    snprintf(rules, sizeof rules, "%s/rules", dir);
    snprintf(pack, sizeof pack, "%s/test.yaml", rules);
    ck_assert_int_eq(mkdir(rules, 0700), 0);
    setenv("POSTERN_TEST_SECRET", "the secret of a test", 1);
    setenv("POSTERN_TEST_AUDIT_KEY", "0123456789abcdef", 1);
    setenv("SENDGRID_API_KEY", "SG.own", 1);
    setenv("TWILIO_AUTH_TOKEN", "own token", 1);
    unsetenv("POSTERN_TEST_NOTHING");
}

static inline void teardown(void)
{
    char rules[96];
    snprintf(rules, sizeof rules, "%s/rules", dir);
    unlink(pack);
    unlink(file);
    rmdir(rules);
    rmdir(dir);
}

static inline struct conf *load(const char *path)
{
    struct errmsg e = {""};
    struct conf *c = conf_load(path, &e);
    ck_assert_msg(c != NULL, "%s", e.text);
    return c;
}

static inline struct conf *load_text(const char *text)
{
    write_file(file, text);
    return load(file);
}

#endif
