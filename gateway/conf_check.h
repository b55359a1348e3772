/* Does a document have the keys and types of its schema?  Said with the line, the path and what would be right. */
#ifndef GATEWAY_CONF_CHECK_H
#define GATEWAY_CONF_CHECK_H

#include <cyaml/cyaml.h>

#include "conf_document.h"

/* Check the document, then let libcyaml fill *out: free it with conf_values_free. */
enum err conf_values_load(const struct conf_document *d, const cyaml_schema_value_t *schema, void **out,
                          struct errmsg *e) NODISCARD;
void conf_values_free(const cyaml_schema_value_t *schema, void **values);

#endif
