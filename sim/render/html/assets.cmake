# Embeds what pages are made of: an assembler file that includes this folder's files and Chart.js.
enable_language(ASM)
find_file(VITSIM_CHART_JS chart.min.js
          PATHS /usr/share/javascript/chart.js /usr/share/nodejs/chart.js/dist
          NO_DEFAULT_PATH DOC "Chart.js 3, as Debian's libjs-chart.js brings it")
if(NOT VITSIM_CHART_JS)
  message(FATAL_ERROR "Chart.js is missing: install Debian's libjs-chart.js, or name chart.min.js of "
                      "Chart.js 3 in VITSIM_CHART_JS")
endif()

set(folder ${CMAKE_CURRENT_SOURCE_DIR}/render/html)
set(assembly ${CMAKE_CURRENT_BINARY_DIR}/page_assets.S)
set(text "")
set(files "")
function(vitsim_embed symbol)
  string(APPEND text ".globl vitsim_${symbol}_begin\nvitsim_${symbol}_begin:\n")
  foreach(file ${ARGN})
    string(APPEND text ".incbin \"${file}\"\n")
  endforeach()
  string(APPEND text ".globl vitsim_${symbol}_end\nvitsim_${symbol}_end:\n.byte 0\n")
  set(text "${text}" PARENT_SCOPE)
  set(files ${files} ${ARGN} PARENT_SCOPE)
endfunction()
vitsim_embed(page_style ${folder}/page.css)
vitsim_embed(page_scripts ${folder}/elements.js ${folder}/drawings.js ${folder}/report.js
             ${folder}/studies.js ${folder}/assessments.js ${folder}/start.js)
vitsim_embed(chart_js ${VITSIM_CHART_JS})
file(CONFIGURE OUTPUT ${assembly} CONTENT
     ".section .rodata\n${text}.section .note.GNU-stack,\"\",%progbits\n" @ONLY)
set_source_files_properties(${assembly} PROPERTIES OBJECT_DEPENDS "${files}")
target_sources(vitsim_sim PRIVATE ${assembly} render/html/assets.cpp render/html/page.cpp
               render/html/run_document.cpp)
