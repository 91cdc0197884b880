document.getElementById('only').addEventListener('change', event => {
  document.body.classList.toggle('only', event.target.checked)
})
