/* A program that is linked with a plugin. */
int plugin_answer(void);

int main(void) { return plugin_answer() == 42 ? 3 : 97; }
