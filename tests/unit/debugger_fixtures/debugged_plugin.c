/* Comes by dlopen. */
static int plugin_data;

__attribute__((destructor)) static void plugin_bye(void) { plugin_data++; }
