/* The files of web/, embedded at build (gateway/embed.cmake): one slice each, named after the file. */
#ifndef GATEWAY_PAGES_WEB_H
#define GATEWAY_PAGES_WEB_H

#include "postern/base.h"

extern const struct slice web_frame_html, web_icon_svg, web_index_html, web_link_html, web_message_html,
    web_problem_html, web_sandbox_html, web_sandbox_empty_html, web_sandbox_pager_html, web_sandbox_row_html,
    web_style_css;

#endif
