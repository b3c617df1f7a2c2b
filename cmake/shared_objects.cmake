# cmake -DINPUT=shared-objects.txt -DOUTPUT=shared_objects.h -P shared_objects.cmake
#
# Writes the patterns of INPUT (one a line; blank lines and lines that begin with # dropped) as a C array.
file(STRINGS ${INPUT} lines)
set(body "")
foreach(line IN LISTS lines)
  string(STRIP "${line}" line)
  if(line STREQUAL "" OR line MATCHES "^#")
    continue()
  endif()
  if(NOT line MATCHES "^[A-Za-z0-9_+.*/-]+$")
    message(FATAL_ERROR "${INPUT}: pattern \"${line}\": expected letters, digits and _ + - . / * only; write it so")
  endif()
  string(APPEND body "    \"${line}\",\n")
endforeach()
if(body STREQUAL "")
  message(FATAL_ERROR "${INPUT}: no pattern found: expected one glob a line")
endif()
get_filename_component(name ${INPUT} NAME)
file(WRITE ${OUTPUT}
  "/* Generated from ${name} by cmake/shared_objects.cmake: do not edit. */\n"
  "#ifndef IA2_SHARED_OBJECTS_H\n#define IA2_SHARED_OBJECTS_H\n\n"
  "static const char *const ia2_shared_patterns[] = {\n${body}};\n\n#endif\n")
