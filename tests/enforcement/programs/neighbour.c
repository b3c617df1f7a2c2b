/* The other object of a compartment of two: data that libneighbours.so uses. */
char neighbour_text[8192] = "of the neighbour\n";
char neighbour_room[8192];
volatile int neighbour_count = 1;
