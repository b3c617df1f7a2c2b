/* neighbours_main WAY: leaves it to the destructor of libneighbours.so. */
extern const char *neighbours_way;
int main_value;

int main(int argc, char **argv) {
    neighbours_way = argc > 1 ? argv[1] : "";
    return 7;
}
