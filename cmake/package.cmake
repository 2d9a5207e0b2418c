# What `make install` installs and `make package` packs: the program, its data, man pages and
# completions that the program itself writes, and the licences of what it embeds.
include(GNUInstallDirs)
install(TARGETS vitsim RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY configs DESTINATION share/vitsim)
install(FILES README.md CHANGELOG.md DESTINATION share/doc/vitsim)
install(FILES packaging/copyright DESTINATION share/doc/vitsim)
install(CODE "
  set(vitsim $<TARGET_FILE:vitsim>)
  set(share \$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/share)
  function(vitsim_write file)
    get_filename_component(folder \${share}/\${file} DIRECTORY)
    file(MAKE_DIRECTORY \${folder})
    execute_process(COMMAND \${vitsim} \${ARGN} OUTPUT_FILE \${share}/\${file} COMMAND_ERROR_IS_FATAL ANY)
    message(STATUS \"Installing: \${share}/\${file}\")
  endfunction()
  vitsim_write(bash-completion/completions/vitsim completion bash)
  vitsim_write(zsh/vendor-completions/_vitsim completion zsh)
  vitsim_write(fish/vendor_completions.d/vitsim.fish completion fish)
  execute_process(COMMAND \${vitsim} manual --out \${share}/man/man1 COMMAND_ERROR_IS_FATAL ANY)
  message(STATUS \"Installing: \${share}/man/man1\")")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME vitsim)
set(CPACK_PACKAGE_VENDOR vitsim)
set(CPACK_PACKAGE_CONTACT "the vitsim developers")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Predicts how long Vision Transformers train on a cluster of unequal GPUs")
set(CPACK_PACKAGE_DESCRIPTION
  "vitsim predicts the time of a training from measurements of its parts, with an interval around
it, and names the GPU that the others wait for. It writes reports as text, JSON and HTML.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_OUTPUT_FILE_PREFIX ${CMAKE_BINARY_DIR}/package)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# The trainer is installed by `make install`, not packed.
set(CPACK_INSTALL_CMAKE_PROJECTS "${CMAKE_BINARY_DIR};vitsim;Unspecified;/")
include(CPack)
