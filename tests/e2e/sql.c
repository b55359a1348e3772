/*
 * sql FILE STATEMENTS: runs them on a database and prints what they give, one value a line.  For tests that spoil a
 * store the way only someone with the file can.
 */
#include <sqlite3.h>
#include <stdio.h>

static int on_row(void *arg, int n, char **values, char **names)
{
    (void)arg, (void)names;
    for (int i = 0; i < n; i++)
        puts(values[i] != NULL ? values[i] : "");
    return 0;
}

int main(int argc, char **argv)
{
    sqlite3 *db = NULL;
    char *why = NULL;
    if (argc != 3 || sqlite3_open(argv[1], &db) != SQLITE_OK)
        return 2;
    int rc = sqlite3_exec(db, argv[2], on_row, NULL, &why);
    if (rc != SQLITE_OK)
        fprintf(stderr, "%s\n", why);
    sqlite3_close(db);
    return rc == SQLITE_OK ? 0 : 1;
}
