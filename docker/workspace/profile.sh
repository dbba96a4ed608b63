# shellcheck shell=sh
# A login shell starts from the distribution's PATH; a terminal in JupyterLab and an SSH session are login shells.
case ":$PATH:" in
  *:/opt/workspace/bin:*) ;;
  *) PATH="$HOME/.local/bin:/opt/workspace/bin:$PATH" ;;
esac
export PATH LANG="${LANG:-C.UTF-8}"
if [ -n "$BASH_VERSION" ] && [ -t 1 ]; then
  alias ls='ls --color=auto' ll='ls -l' grep='grep --color=auto'
fi
